/**
 * Requests that end: each answer begins in time, goes on at a rate, and has a size. Nothing that the browser knows
 * (cookies, the page's URL) is sent.
 *
 * What is limited is silence and not the whole, so that a slow line gets through. Who sends a byte now and then is no slow
 * line but holds its reader up, so there is a slowest rate, too. How far a request has been sent, `fetch` does not tell: it
 * has the time that its size takes at the slowest rate of a line that uploads.
 */
import { concat } from './bytes.js';
import { Absent, Unreachable } from './errors.js';
import { after, monotonic } from './waits.js';
import type { Ticks, Timer } from './waits.js';

export type Fetch = typeof globalThis.fetch;

const REQUEST_SECONDS = 15;
const SILENCE_SECONDS = 15;
const SLOWEST_BYTES = 4096; // a second: less than the slowest mobile networks have
const SLOWEST_UPLOAD_BYTES = 16 * 1024; // a second: a 40 MB message takes 45 minutes to fail, and a card 15 seconds
const ABSENT = new Set([403, 404, 410]); // S3 answers 403 for a file that is not there

export interface Request {
  method?: 'GET' | 'POST' | 'PUT' | 'DELETE';
  headers?: Record<string, string>;
  body?: string;
  /** Followed only where nothing secret goes along: a token would go to wherever the answer says. */
  redirect?: 'follow' | 'error';
  /** Until the answer begins, beside what the body takes. Infinity is for streams, which their reader watches. */
  seconds?: number;
  signal?: AbortSignal;
}

/** The answer's head; the body is read by `readBody`. Throws `Unreachable`, or what `signal` was aborted with. */
export async function request(fetch: Fetch, url: string, what: Request = {}): Promise<Response> {
  const { redirect = 'error', seconds = REQUEST_SECONDS, signal, ...rest } = what;
  const late = new AbortController();
  const upload = (what.body?.length ?? 0) / SLOWEST_UPLOAD_BYTES;
  const timer = after(seconds + upload, () => late.abort(new DOMException('', 'TimeoutError')));
  try {
    return await fetch(url, {
      ...rest,
      redirect,
      cache: 'no-store',
      credentials: 'omit',
      referrerPolicy: 'no-referrer',
      signal: AbortSignal.any(signal ? [signal, late.signal] : [late.signal]),
    });
  } catch (error) {
    signal?.throwIfAborted();
    throw unreachable(url, error);
  } finally {
    clearTimeout(timer);
  }
}

/** Throws `Unreachable` for more than `maxBytes`, for one that stops or crawls, and for a connection that breaks. */
export async function readBody(response: Response, maxBytes: number, ticks: Ticks = monotonic): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  const began = ticks();
  let length = 0;
  const patience = () => Math.min(SILENCE_SECONDS, 2 * SILENCE_SECONDS + length / SLOWEST_BYTES - (ticks() - began));
  try {
    for await (const chunk of chunksOf(response, patience)) {
      length += chunk.length;
      if (length > maxBytes) break;
      chunks.push(chunk);
    }
  } catch (error) {
    throw unreachable(response.url, error);
  }
  if (length > maxBytes) throw new Unreachable(`${hostOf(response.url)} sent more than ${maxBytes} bytes.`);
  return concat(...chunks);
}

/**
 * The body, piece by piece; leaving the loop lets go of the connection. Not every browser iterates streams itself.
 * `patience` says how many seconds the next piece may take; then it throws a `TimeoutError`.
 */
export async function* chunksOf(
  response: Response,
  patience: () => number = () => Number.POSITIVE_INFINITY,
): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = response.body?.getReader();
  if (!reader) return;
  try {
    for (let read = await within(patience(), reader.read()); !read.done; read = await within(patience(), reader.read())) {
      yield read.value;
    }
  } finally {
    await reader.cancel().catch(() => undefined); // it broke by itself, which the reader was told
  }
}

function within<T>(seconds: number, promise: Promise<T>): Promise<T> {
  const end = () => new DOMException('', 'TimeoutError');
  if (seconds <= 0) {
    promise.catch(() => undefined);
    return Promise.reject(end()); // in a race, what is there already would win
  }
  let timer: Timer;
  const late = new Promise<never>((_, reject) => (timer = after(seconds, () => reject(end()))));
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

interface Wanted {
  maxBytes: number;
  absent?: ReadonlySet<number>;
}

/** A small text that strangers may have written or moved, so no token is sent. Throws `Absent` or `Unreachable`. */
export async function getText(fetch: Fetch, url: string, wanted: Wanted): Promise<string> {
  return (await getFile(fetch, url, wanted)).text;
}

/** The same with its ETag, as far as the host tells. */
export async function getFile(
  fetch: Fetch,
  url: string,
  { maxBytes, absent = ABSENT }: Wanted,
): Promise<{ text: string; etag: string | undefined }> {
  if (!/^https?:\/\//.test(url)) throw new Unreachable('That is not an http URL.');
  const response = await request(fetch, url, { redirect: 'follow' });
  if (response.status !== 200) {
    await response.body?.cancel();
    if (absent.has(response.status)) throw new Absent(`${hostOf(url)} has nothing there.`, { isForNow: true });
    throw new Unreachable(`${hostOf(url)} answered ${response.status}.`);
  }
  const text = new TextDecoder().decode(await readBody(response, maxBytes)); // what is not UTF-8 is no key, card or message
  return { text, etag: response.headers.get('ETag') ?? undefined };
}

export function hostOf(url: string): string {
  return URL.canParse(url) ? new URL(url).host : 'The host';
}

function unreachable(url: string, cause: unknown): Unreachable {
  if (cause instanceof Unreachable) return cause;
  const isTime = cause instanceof DOMException && cause.name === 'TimeoutError';
  const reason = isTime ? 'did not answer in time' : 'could not be reached, or does not let this page read it';
  return new Unreachable(`${hostOf(url)} ${reason}.`, { cause });
}
