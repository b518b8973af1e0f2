/** What `watch` tells. */
import type { AuditReport } from './auditing.js';
import type { SendReport } from './delivery.js';
import type { InboxError } from './errors.js';
import type { Listed } from './pages.js';

/** An unread entry, and the own inboxes that list it. */
export interface Entry extends Listed {
  inboxes: string[];
}

export type News =
  /**
   * Something is unread. Each entry comes once, from whichever inbox has it first; and again while it could not be fetched for
   * now (`isAgain`), after one minute, two, four and so on.
   */
  | { kind: 'message'; entry: Entry; isAgain?: true }
  /** An entry was read, here or on another device. */
  | { kind: 'read'; id: string }
  /**
   * The owner must know: `inbox_full`, `suspended` (the operator lets nothing in), or that a subscription ended:
   * `push_gone`, `matrix_gone`, `webhook_gone`.
   */
  | { kind: 'notice'; inbox: string; notice: string }
  /** An audit, which a `watch` makes about once a day, says that something is wrong, or found something: that comes as messages, too. */
  | { kind: 'audit'; report: AuditReport }
  /** No own inbox can be reached: until one is `up` again, messages are looked for in contacts' own buckets. */
  | { kind: 'without_server' }
  /** The own card cannot be read, and why. The inboxes that it named before are followed. */
  | { kind: 'card'; problem: InboxError }
  /** The own card would have ended soon, or lacked the receipt key of a server: it was published again, with this number. */
  | { kind: 'renewed'; seq: number }
  /** No tickets are sent: because the file in the own bucket that says for whom cannot be read (those that are there stay good), or an inbox takes none. Told once. */
  | { kind: 'sheets'; problem: InboxError }
  /** A delivery that waited was tried again, and was stored or refused somewhere. */
  | { kind: 'sent'; report: SendReport }
  /** An inbox is listened to, at first or again. */
  | { kind: 'up'; inbox: string }
  /** An inbox cannot be listened to, and why. The client tries again by itself; missed news comes later. */
  | { kind: 'down'; inbox: string; problem: InboxError; retrySeconds: number }
  /** An inbox is gone and no longer listened to, because the card now names others. */
  | { kind: 'left'; inbox: string };
