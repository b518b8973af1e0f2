/** Carries entries from one inbox of an owner to another: delivers unread ones, and acknowledges those already read. */
import { Refused } from './errors.js';
import type { Inbox } from './inbox.js';
import { marksOf } from './marks.js';
import type { Listed, Page } from './pages.js';
import type { State } from './state.js';

const PAGE_ENTRIES = 1000;
const AT_ONCE = 8;
const TOLD_AFTER = 48; // entries; a page has 1,000, and a server's rate may stretch it over minutes
// A life is counted by the old server's clock, which is known only as well as servers take tokens for.
const CLOCK_SECONDS = 60;

/** Progress of a move: act on `kind`, show `text` to people. `carried` is how many entries so far. */
export interface MoveStep {
  kind: 'begun' | 'claimed' | 'published' | 'sheets' | 'shut' | 'carried' | 'waiting' | 'moved';
  text: string;
  carried: number;
}

export interface Route {
  state: State;
  from: Inbox;
  to: Inbox;
  /** The owner's key, which may always deliver to its own inbox. */
  publicKey: string;
  /** Rejects when the move is to stop. */
  sleep: (seconds: number) => Promise<void>;
}

/** Nothing changes at the old inbox. */
export class Carrying {
  readonly #route: Route;
  readonly #delivered = new Set<string>();
  #cursor: string | undefined;
  #isFollowing = false;

  constructor(route: Route) {
    this.#route = route;
  }

  step(kind: MoveStep['kind'], text: string): MoveStep {
    return { kind, text, carried: this.#delivered.size };
  }

  /** Deliver the list from its start. */
  async *unread(): AsyncGenerator<MoveStep> {
    for (let more = true; more; ) {
      const page = yield* this.#page();
      yield* this.#carry(page);
      more = page.more;
    }
  }

  /** Carry changes until there are no more, beginning with everything remembered, including entries read long ago. */
  async *changes(): AsyncGenerator<MoveStep> {
    if (!this.#isFollowing) yield* this.#goBack();
    this.#isFollowing = true;
    for (;;) {
      const page = yield* this.#page();
      yield* this.#carry(page);
      if (page.messages.length === 0 && page.read.length === 0 && !page.more) return;
    }
  }

  /** Servers have hourly limits: wait whenever they ask for it, and report it. Every request here may be repeated. */
  async *patiently<Answer>({ url }: Inbox, ask: () => Promise<Answer>): AsyncGenerator<MoveStep, Answer> {
    for (;;) {
      try {
        return await ask();
      } catch (error) {
        const seconds = error instanceof Refused && error.isForNow ? error.retryAfterSeconds : undefined;
        if (seconds === undefined) throw error;
        yield this.step('waiting', `Waiting ${seconds} s, as ${url} asks: ${(error as Refused).detail}`);
        await this.#route.sleep(seconds);
      }
    }
  }

  async *#page(): AsyncGenerator<MoveStep, Page> {
    const { from } = this.#route;
    const page = yield* this.patiently(from, () => from.page(this.#cursor, PAGE_ENTRIES));
    this.#cursor = page.cursor;
    return page;
  }

  /** In this order, so that an entry that was read after its delivery ends as read. */
  async *#carry({ messages, read }: Page): AsyncGenerator<MoveStep> {
    const { to } = this.#route;
    const fresh = messages.filter(({ id }) => !this.#delivered.has(id));
    for (let at = 0; at < fresh.length; at += AT_ONCE) {
      if (at > 0 && at % TOLD_AFTER === 0) yield this.step('carried', `Carried ${this.#delivered.size} over.`);
      yield* this.patiently(to, () => this.#deliver(fresh.slice(at, at + AT_ONCE)));
    }
    if (read.length > 0) yield* this.patiently(to, () => to.acknowledge(read));
    if (fresh.length + read.length > 0) yield this.step('carried', `Carried ${this.#delivered.size} over.`);
  }

  async #deliver(entries: readonly Listed[]): Promise<void> {
    const left = entries.filter(({ id }) => !this.#delivered.has(id));
    const settled = await Promise.allSettled(left.map((entry) => this.#deliverOne(entry)));
    for (const each of settled) if (each.status === 'rejected') throw each.reason;
  }

  /**
   * With the life that it has left; the `id` is the same at every server. None is left out as expired: the old server
   * listed it, and would not have if it were.
   */
  async #deliverOne({ id, messageId, expires }: Listed): Promise<void> {
    const { from, to, publicKey } = this.#route;
    const ttl = Math.max(expires - from.time, 0) + CLOCK_SECONDS;
    await to.deliver(JSON.stringify({ message_id: messageId, ttl }), { sender: publicKey, recipient: publicKey });
    this.#delivered.add(id);
  }

  /** To the oldest cursor that the old inbox still knows. */
  async *#goBack(): AsyncGenerator<MoveStep> {
    const { state, from } = this.#route;
    for (const cursor of await marksOf(state, from.url)) {
      try {
        yield* this.patiently(from, () => from.page(cursor, 1));
        this.#cursor = cursor;
        return;
      } catch (error) {
        if (!(error instanceof Refused && /^(cursor_gone|bad_cursor)$/.test(error.code))) throw error;
      }
    }
  }
}
