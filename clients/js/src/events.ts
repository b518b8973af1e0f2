/** Server-sent events (HTML standard, 9.2), read from `fetch`: an `EventSource` cannot send a token. */
import { Unreachable } from './errors.js';
import { after } from './waits.js';
import type { Timer } from './waits.js';

export interface ServerEvent {
  name: string;
  data: string;
}

const MAX_EVENT_CHARACTERS = 8 << 20; // a page of 1,000 entries has less than 2 MB
const LINE_END = /\r\n|\n|\r(?!$)/; // the last one may be half of a pair whose other half is yet to come

/** Complete events only. Throws `Unreachable` for one that does not end. */
export async function* readEvents(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<ServerEvent, void, undefined> {
  const decoder = new TextDecoder();
  let rest = '';
  let fields: string[] = [];
  for await (const chunk of chunks) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split(LINE_END);
    rest = lines.pop() ?? '';
    for (const line of lines) {
      if (line !== '') {
        fields.push(line);
        continue;
      }
      const event = readEvent(fields);
      fields = [];
      if (event) yield event;
    }
    const waiting = fields.reduce((sum, field) => sum + field.length, rest.length);
    if (waiting > MAX_EVENT_CHARACTERS) throw new Unreachable('The server sent an event that does not end.');
  }
}

/** Undefined for an event without data: a comment, which only shows that the connection is alive. */
function readEvent(fields: readonly string[]): ServerEvent | undefined {
  let name = 'message';
  const data: string[] = [];
  for (const field of fields) {
    const [, key, value = ''] = /^([^:]*)(?:: ?(.*))?$/s.exec(field) ?? [];
    if (key === 'event') name = value;
    if (key === 'data') data.push(value);
  }
  return data.length > 0 ? { name, data: data.join('\n') } : undefined;
}

/** Reports when nothing has arrived for too long. It counts only while somebody listens. */
export class Silence {
  readonly #aborter = new AbortController();
  readonly #milliseconds: number;
  #timer: Timer;

  constructor(milliseconds: number) {
    this.#milliseconds = milliseconds;
  }

  /** Aborts when nothing has arrived for too long. */
  get signal(): AbortSignal {
    return this.#aborter.signal;
  }

  start(): void {
    this.stop();
    this.#timer = after(this.#milliseconds / 1000, () => this.#aborter.abort());
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}
