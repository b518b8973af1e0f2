/** The ways in which an inbox can tell its owner that something waits. */
import type { UnixTime } from './tokens.js';

/** How an inbox can tell its owner that something waits. */
export type Channel = 'push' | 'matrix' | 'webhook';

/** A direct chat with an inbox server's bot: its ID, `!…`. */
export interface MatrixRoom {
  room: string;
}

/** A URL of the owner's own, such as a topic of ntfy, and the `Authorization` header that it needs, if it needs one. */
export interface Webhook {
  url: string;
  authorization?: string;
}

/** Which subscription to drop; without one, all of the channel. */
export type Dropped = { id: string } | { endpoint: string } | MatrixRoom | { url: string } | undefined;

/** The channel to which an address belongs. */
export function channelOf(address: object | undefined): Channel {
  return address && 'room' in address ? 'matrix' : address && 'url' in address ? 'webhook' : 'push';
}

/** A browser that is told by Web Push. One that is old and not known here is stale: drop it by its `id`. */
export interface Subscription {
  /** The first 16 characters of base64url(SHA-256(endpoint)), or of the room or the URL. */
  id: string;
  /** The origin of its push service or of the URL, or the domain of the bot. */
  service: string;
  /** The day on which it was last made. */
  since: UnixTime;
}
