/** What a delivery to an inbox server is made of, what its answer says, and what is kept and reported of it. */
import type { InboxError, Refused } from './errors.js';
import type { Slot } from './indexes.js';
import type { SignedReceipt } from './receipts.js';
import type { Taken, Way } from './sealing.js';
import type { Table } from './state.js';
import type { Sealed } from './tickets.js';
import type { UnixTime } from './tokens.js';

/** The answer to a delivery: it is on disk. */
export interface Receipt {
  id: string;
  expires: UnixTime;
  /** The server's signature for it, which the recipient's card says how to check. */
  signed?: SignedReceipt;
  /** Why there is no such signature although the card promises one. The delivery counts all the same. */
  unsigned?: string;
}

/** What a delivery needs beside its body. */
export interface Requested {
  recipient: string;
  /** With it the server is asked for a signed receipt, and that is verified. */
  receipt?: { key: string; address: string };
}

export interface Addressed extends Requested {
  sender: string;
}

export interface Delivery {
  /** The message's ID, which is its file's name in the sender's bucket. */
  id: string;
  recipient: string;
  body: string;
  begunAt: UnixTime;
  lookedUpAt: UnixTime;
  /** Inboxes that have not taken it yet: how often each was tried, since when it waits, when it may be tried again, and its refusal. */
  waiting: Record<string, { tries: number; since: UnixTime; notBefore: UnixTime; code?: string }>;
  /** Inboxes that stored it or refused it. */
  done: string[];
  /** Deliveries of older versions have neither receipts nor a place in an index. */
  proof?: Proof;
  /** The tickets that it took, by inbox. */
  tickets?: Table<Taken>;
}

/** What the receipts of a delivery are checked against, and where they are kept. */
export interface Proof extends Slot {
  expires: UnixTime;
  /** The receipt keys on the recipient's card, by inbox. */
  keys: Table<string>;
  /** What that card says of tickets. */
  sealed?: Sealed;
  /** Whether both had spoken before this message. */
  isMutual?: boolean;
}

/** A message that is about to be delivered. */
export type Outgoing = Pick<Delivery, 'id' | 'recipient' | 'body' | 'proof'>;

export interface Delivered extends Receipt {
  /** `signed` where the recipient gives no tickets. */
  way: Way;
}

/** What became of a message, inbox by inbox. It is safe with the recipient's server when `stored` has one or more. */
export interface SendReport {
  id: string;
  recipient: string;
  stored: (Delivered & { inbox: string })[];
  /**
   * Not reachable, or not for now, or not accepted while the recipient's card, which may name another inbox, cannot be
   * read: kept and tried again by `retry` and `watch`, for 30 days. `inbox` is empty where no card could be read at all.
   */
  waiting: { inbox: string; problem: InboxError; notBefore: UnixTime }[];
  /** For good. */
  refused: { inbox: string; problem: Refused }[];
  /** Whether what waits is in the storage. Where that is full, it is repeated only until the page is left. */
  isKept: boolean;
  /** Why the own index, which the recipient audits by, could not be written. The next `send` or `retry` makes up for it. */
  index?: InboxError;
}
