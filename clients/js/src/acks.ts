/** Acknowledgements for every inbox of their owner. An inbox that is down gets them later, before it is listed again. */
import { InboxError, Refused } from './errors.js';
import type { Inbox } from './inbox.js';
import type { State } from './state.js';

const MOST_READ = 5000; // the oldest are forgotten first

export class Acks {
  readonly #state: State;

  constructor(state: State) {
    this.#state = state;
  }

  /** Store them first, then send them. */
  async remember(inboxes: readonly Inbox[], ids: readonly string[]): Promise<boolean> {
    await this.note(ids);
    return this.#state.change<string[]>('acks', (waiting) => {
      for (const { url } of inboxes) waiting[url] = [...new Set([...(waiting[url] ?? []), ...ids])];
    });
  }

  /** What was read, here or elsewhere: no restored server, no audit and no contact's index brings it back. */
  async note(ids: readonly string[]): Promise<void> {
    const before = await this.#state.read<1>('read');
    if (ids.every((id) => id in before)) return;
    await this.#state.change<1>('read', (read) => {
      for (const id of ids) read[id] = 1;
      for (const oldest of Object.keys(read).slice(0, -MOST_READ)) delete read[oldest];
    });
  }

  async read(): Promise<Set<string>> {
    return new Set([...Object.keys(await this.#state.read<1>('read')), ...(await this.waiting())]);
  }

  /** Everything that was read here and that some inbox may still list as unread. */
  async waiting(): Promise<Set<string>> {
    return new Set(Object.values(await this.#state.read<string[]>('acks')).flat());
  }

  /** What was read, here or elsewhere, and is listed again: by a server that was restored, or to which another device moved. */
  async tellAgain(inbox: Inbox, listed: readonly { id: string }[]): Promise<void> {
    const [read, noted] = [await this.read(), new Set((await this.#state.read<string[]>('acks'))[inbox.url])];
    const again = listed.map(({ id }) => id).filter((id) => read.has(id) && !noted.has(id));
    if (again.length === 0) return;
    await this.remember([inbox], again);
    await this.tell(inbox);
  }

  /** Send an inbox the acknowledgements that it has not had yet. Returns the problem, if there was one. */
  async tell(inbox: Inbox): Promise<InboxError | undefined> {
    const ids = (await this.#state.read<string[]>('acks'))[inbox.url] ?? [];
    if (ids.length === 0) return undefined;
    let problem: InboxError | undefined;
    try {
      await inbox.acknowledge(ids);
    } catch (error) {
      if (!(error instanceof InboxError)) throw error;
      problem = error;
    }
    // An inbox that is no longer ours needs no acknowledgement. Any other fault may be fixed, so it is tried again.
    const isOver = problem === undefined || (problem instanceof Refused && problem.code === 'no_inbox');
    if (isOver) await this.#forget(inbox.url, new Set(ids));
    return problem;
  }

  #forget(url: string, told: ReadonlySet<string>): Promise<boolean> {
    return this.#state.change<string[]>('acks', (waiting) => {
      const left = (waiting[url] ?? []).filter((id) => !told.has(id));
      if (left.length > 0) waiting[url] = left;
      else delete waiting[url];
    });
  }
}
