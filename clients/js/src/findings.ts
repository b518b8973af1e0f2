/** What an audit can find: a code to act on, words for people, and evidence for others. */
import type { LogAnswer, LogPage } from './log.js';
import type { SignedReceipt } from './receipts.js';
import type { UnixTime } from './tokens.js';

/** The same in every client: docs/client.md lists them. */
export type Code = keyof typeof WORDS;

export interface Finding {
  code: Code;
  inbox: string;
  /** For people. */
  text: string;
  /** Whether it says that the server hides or has changed something; else something could not be checked. */
  isAccusation: boolean;
  /** The `id` of the entry that it is about. */
  entry?: string;
  /** The contact who sent it. */
  from?: string;
  /** For `inbox-server client verify-receipt`: everything that somebody else can check offline. */
  evidence?: Evidence;
}

export interface Evidence {
  v: 1;
  kind: 'message-inbox-evidence';
  inbox: string;
  /** The server's receipt key. */
  key: string;
  /** The owner's app address. */
  address: string;
  entry?: { id: string; expires: UnixTime };
  receipt?: SignedReceipt;
  /** The server's own token for an earlier head. */
  before?: string;
  log: LogPage[];
  says: string;
}

const ACCUSES = true;
const WORDS = {
  receipt_without_entry: [ACCUSES, 'It signed for a delivery that its log does not have.'],
  not_in_log: [ACCUSES, 'It listed an entry that its log does not have.'],
  withheld: [ACCUSES, 'It logged an entry and shows it neither as unread nor as read.'],
  rewritten: [ACCUSES, 'Its log was changed after it was checked, or does not hold together.'],
  rolled_back: [ACCUSES, 'Its log ends before the place up to which it was checked.'],
  base_moved: [ACCUSES, 'Its log begins after entries that nobody has checked and that it must still keep.'],
  replayed: [ACCUSES, 'It gave a signed answer that was for another question.'],
  swapped: [ACCUSES, 'It lists a text under the id of another one.'],
  other_key: [!ACCUSES, 'It signs with another key than your card says; if its operator changed its secret, publish again.'],
  restored: [!ACCUSES, 'Its operator put an earlier copy back, and what came after the copy may be lost.'],
  away_too_long: [!ACCUSES, 'Its log was not checked for longer than the server keeps it.'],
  full: [!ACCUSES, 'Its log is full, so what is missing from it may have gone before its time.'],
  other_time: [!ACCUSES, 'By its clock it is another time than here, so what has expired cannot be told; set your clock right.'],
  unlisted: [!ACCUSES, 'Entries in its log were never shown to this device: another device read them, or they expired.'],
  no_log: [!ACCUSES, 'It says that it has no log: its software is older, or it will not be checked.'],
  no_inbox: [!ACCUSES, 'It has no inbox of yours: if you did not delete it, its operator did, or has lost it; claim it again, and publish.'],
  unreachable: [!ACCUSES, 'It could not be asked.'],
  no_checkpoint: [!ACCUSES, 'The checkpoint in your bucket, up to which the logs were checked before, cannot be used.'],
} as const satisfies Record<string, readonly [boolean, string]>;

export function findingOf(code: Code, inbox: string, more: Partial<Pick<Finding, 'entry' | 'from' | 'text'>> = {}): Finding {
  const [isAccusation, text] = WORDS[code] as readonly [boolean, string];
  return { code, inbox, text, isAccusation, ...more };
}

export type Proof = Pick<Evidence, 'entry' | 'receipt' | 'before'>;

export interface Witness {
  inbox: string;
  address: string;
  answers: readonly LogAnswer[];
}

/** What others can check: `proof`, and the whole log that does not fit it. */
export function evidenceOf({ inbox, address, answers }: Witness, key: string, proof: Proof, says: string): Evidence {
  return { v: 1, kind: 'message-inbox-evidence', inbox, key, address, ...proof, log: answers.map(({ page }) => page), says };
}
