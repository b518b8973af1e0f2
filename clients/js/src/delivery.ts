/** What a delivery to an inbox server is made of, and what its answer says. */
import type { SignedReceipt } from './receipts.js';
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
