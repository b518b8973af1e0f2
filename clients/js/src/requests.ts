/**
 * Requests that end: each has a time, and each answer a size. Nothing that the browser knows (cookies, the page's URL)
 * goes along.
 */
import { concat } from './bytes.js';
import { Absent, Unreachable } from './errors.js';

export type Fetch = typeof globalThis.fetch;

const REQUEST_SECONDS = 15;
const ABSENT = new Set([403, 404, 410]); // S3 answers 403 for a file that is not there

export interface Request {
  method?: 'GET' | 'POST' | 'PUT' | 'DELETE';
  headers?: Record<string, string>;
  body?: string;
  /** Followed only where nothing secret goes along and the owner of the URL may move. */
  redirect?: 'follow' | 'error';
  /** For the whole answer. Infinity is for streams, which their reader watches. */
  seconds?: number;
  signal?: AbortSignal;
}

/** The answer's head; the body is read by `readBody`. Throws `Unreachable`, or what `signal` was aborted with. */
export async function request(fetch: Fetch, url: string, what: Request = {}): Promise<Response> {
  const { redirect = 'error', seconds = REQUEST_SECONDS, signal, ...rest } = what;
  const time = seconds === Number.POSITIVE_INFINITY ? [] : [AbortSignal.timeout(seconds * 1000)];
  try {
    return await fetch(url, {
      ...rest,
      redirect,
      cache: 'no-store',
      credentials: 'omit',
      referrerPolicy: 'no-referrer',
      signal: AbortSignal.any(signal ? [signal, ...time] : time),
    });
  } catch (error) {
    signal?.throwIfAborted();
    throw unreachable(url, error);
  }
}

/** Throws `Unreachable` for more than `maxBytes`, and for a connection that breaks. */
export async function readBody(response: Response, maxBytes: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  try {
    for await (const chunk of chunksOf(response)) {
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

/** The body, piece by piece; leaving the loop lets go of the connection. Not every browser iterates streams itself. */
export async function* chunksOf(response: Response): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = response.body?.getReader();
  if (!reader) return;
  try {
    for (let read = await reader.read(); !read.done; read = await reader.read()) yield read.value;
  } finally {
    await reader.cancel().catch(() => undefined); // it broke by itself, which the reader was told
  }
}

/** A small text that strangers may have written. Throws `Absent` or `Unreachable`. */
export async function getText(
  fetch: Fetch,
  url: string,
  { maxBytes, redirect = 'error', absent = ABSENT }: {
    maxBytes: number;
    redirect?: 'follow' | 'error';
    absent?: ReadonlySet<number>;
  },
): Promise<string> {
  if (!/^https?:\/\//.test(url)) throw new Unreachable('That is not an http URL.');
  const response = await request(fetch, url, { redirect });
  if (response.status !== 200) {
    await response.body?.cancel();
    if (absent.has(response.status)) throw new Absent(`${hostOf(url)} has nothing there.`);
    throw new Unreachable(`${hostOf(url)} answered ${response.status}.`);
  }
  return new TextDecoder().decode(await readBody(response, maxBytes)); // what is not UTF-8 is no key, card or message
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
