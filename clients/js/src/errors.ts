/** Everything that can go wrong for a reason that is not a bug. The message is for people; the class is to act on. */

export class InboxError extends Error {
  override name = 'InboxError';
  /** Whether the same may succeed later: what it was about is to be kept, and tried again. */
  isForNow = false;
}

/** Why one thing that is missing may only be missing for now: see `lapses.ts`. */
export interface Reason extends ErrorOptions {
  isForNow?: boolean;
}

/** The codes that mean "never" (docs/protocol.md). One that is not known yet is taken for "not now", which loses nothing. */
export const FINAL_CODES: ReadonlySet<string> = new Set([
  ...['bad_request', 'bad_cursor', 'no_token', 'bad_token', 'gaia_token', 'not_accepted', 'name_unproven', 'not_registered'],
  ...['not_found', 'no_inbox', 'wrong_method', 'stale_token', 'cursor_gone', 'too_large', 'wrong_host', 'ttl_passed'],
]);

/** An inbox server understood and did not do it. Act on `code`, which is stable (docs/protocol.md, "Refusals"). */
export class Refused extends InboxError {
  override name = 'Refused';
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  /** What of the request is wrong, where one thing is. */
  readonly member: string | undefined;
  /** The server asks not to be asked again for so long. */
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

/** A message is not by whom its pointer says. */
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

/** The own Gaia hub did not do it: for now, unless it refused in its own words to store something. */
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
