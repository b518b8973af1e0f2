/** Everything that can go wrong for a reason that is not a bug. The message is for people; the class is to act on. */

export class InboxError extends Error {
  override name = 'InboxError';
  /** Whether the same call may succeed later: keep what it was about, and try again. */
  isForNow = false;
}

/** Why something that is missing may come back: see `lapses.ts`. */
export interface Reason extends ErrorOptions {
  isForNow?: boolean;
}

/**
 * The codes that mean "never" (docs/protocol.md). An unknown code counts as "not now", which loses nothing. So does
 * `no_token`: this client sends a token wherever one is needed, and a proxy took it away.
 */
export const FINAL_CODES: ReadonlySet<string> = new Set([
  ...['bad_request', 'bad_cursor', 'bad_token', 'gaia_token', 'not_accepted', 'name_unproven', 'not_registered'],
  ...['suspended', 'ticket_spent'],
  ...['not_found', 'no_inbox', 'wrong_method', 'stale_token', 'cursor_gone', 'too_large', 'wrong_host', 'ttl_passed'],
]);

/** An inbox server understood and did not do it. Act on `code`, which is stable (docs/protocol.md, "Refusals"). */
export class Refused extends InboxError {
  override name = 'Refused';
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  /** Which part of the request is wrong, if it is a single one. */
  readonly member: string | undefined;
  /** How long the server asks us to wait before the next request. */
  readonly retryAfterSeconds: number | undefined;
  /** The server's time, when the clock is the reason. */
  readonly serverTime: number | undefined;

  constructor(status: number, problem: Record<string, unknown>, retryAfterSeconds?: number) {
    const detail = String(problem.detail ?? problem.title ?? 'The server gave no reason.');
    super(`${detail} (${String(problem.code)})`);
    this.status = status;
    this.code = String(problem.code);
    this.detail = detail;
    this.member = typeof problem.member === 'string' ? problem.member : undefined;
    this.serverTime = typeof problem.now === 'number' ? problem.now : undefined;
    this.retryAfterSeconds = retryAfterSeconds;
    this.isForNow = !FINAL_CODES.has(this.code);
  }
}

/** Nothing came back that could be used: no connection, no time, no CORS, or an answer that is not the protocol's. */
export class Unreachable extends InboxError {
  override name = 'Unreachable';
  override isForNow = true;
}

/** The host answered, and has nothing there: a message that its sender removed, for example. */
export class Absent extends InboxError {
  override name = 'Absent';

  constructor(message: string, { isForNow = false, ...options }: Reason = {}) {
    super(message, options);
    this.isForNow = isForNow;
  }
}

/** A link of the chain from a name to a key does not hold. */
export class NotProven extends InboxError {
  override name = 'NotProven';

  constructor(message: string, { isForNow = false, ...options }: Reason = {}) {
    super(message, options);
    this.isForNow = isForNow;
  }
}

/** The recipient has no inbox card that can be trusted, so nothing is sent: there is no other server to fall back on. */
export class BadCard extends InboxError {
  override name = 'BadCard';
  /** The bucket says that there is none: never published, or withdrawn. Everything else may be a host's old copy. */
  readonly isNone: boolean;

  constructor(message: string, { isNone = false, isForNow = false, ...options }: Reason & { isNone?: boolean } = {}) {
    super(message, options);
    this.isNone = isNone;
    this.isForNow = isForNow;
  }
}

/** The recipient has another key than the one that a message is encrypted to, and could not read it. */
export class KeyChanged extends InboxError {
  override name = 'KeyChanged';
}

/** A message is not from the sender that its pointer names. */
export class NotAuthentic extends InboxError {
  override name = 'NotAuthentic';
}

/** A text is not encrypted to this key, or was changed. */
export class CannotDecrypt extends InboxError {
  override name = 'CannotDecrypt';
}

/** A move cannot begin; the message says why, and what to do. Nothing has changed. */
export class CannotMove extends InboxError {
  override name = 'CannotMove';
}

/** The user's Gaia hub failed. This is temporary, unless the hub itself refused to store something. */
export class BucketFailed extends InboxError {
  override name = 'BucketFailed';
  /** The hub's, where it answered. */
  readonly status: number | undefined;

  constructor(message: string, { status, isForNow = true }: { status?: number; isForNow?: boolean } = {}) {
    super(message);
    this.status = status;
    this.isForNow = isForNow;
  }
}
