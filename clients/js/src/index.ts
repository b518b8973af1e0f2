export type { AuditReport } from './auditing.js';
export type { MoveStep } from './carrying.js';
export type { Channel, Dropped, MatrixRoom, Subscription, Webhook } from './channels.js';
export { check } from './check.js';
export type { Capabilities, Checked, CheckOptions } from './check.js';
export type { Claimed } from './claiming.js';
export { InboxClient } from './client.js';
export type { Content, Random } from './ecies.js';
export {
  Absent,
  BadCard,
  BucketFailed,
  CannotDecrypt,
  CannotMove,
  InboxError,
  NotAuthentic,
  NotProven,
  Refused,
  Unreachable,
} from './errors.js';
export type { Evidence, Finding } from './findings.js';
export type { Delivered, Delivery, Receipt, SendReport } from './delivery.js';
export { NotAKey } from './keys.js';
export type { Message } from './messages.js';
export type { MoveOptions } from './moving.js';
export type { Entry, News } from './news.js';
export type { InboxClientOptions } from './options.js';
export type { Report } from './own.js';
export type { Published } from './owncard.js';
export type { Listed } from './pages.js';
export type { Way } from './sealing.js';
export type { SendOptions } from './sending.js';
export { MemoryStorage } from './state.js';
export type { SignedReceipt } from './receipts.js';
export type { Unread } from './reading.js';
export type { Claim, InboxSettings } from './settings.js';
export type { InboxStorage } from './state.js';
export type { UnixTime } from './tokens.js';
export type { Sleep, Ticks } from './waits.js';
