/** Step 4: what is unread, from all own inboxes; and where none of them can be reached, from contacts' own buckets. */
import type { Acks } from './acks.js';
import type { ContactIndexes } from './contactindexes.js';
import type { InboxError } from './errors.js';
import { foundEntries, listOf } from './listing.js';
import type { Entry } from './news.js';
import type { Missed } from './missed.js';
import type { Own, Report } from './own.js';
import type { Listed } from './pages.js';
import type { State } from './state.js';

export interface ReadingOptions {
  own: Own;
  state: State;
  acks: Acks;
  indexes: ContactIndexes;
  missed: Missed;
}

export interface Unread {
  entries: Entry[];
  /** Inboxes that could not be asked. */
  problems: Report[];
  /** Why the own card cannot be read, where the inboxes are those that it named before. */
  card?: InboxError;
  /** No own inbox could be reached: these are from contacts' own buckets. */
  withoutServer?: true;
}

export class Reading {
  readonly #what: ReadingOptions;

  constructor(what: ReadingOptions) {
    this.#what = what;
  }

  /** See `InboxClient.unread`. */
  async unread(): Promise<Unread> {
    const { own, acks, state } = this.#what;
    const reports = await own.eachSource(async (inbox) => {
      await acks.tell(inbox);
      const { listed } = await listOf(inbox, state);
      await acks.tellAgain(inbox, listed);
      return listed;
    });
    const problems = reports.flatMap(({ inbox, problem }) => (problem ? [{ inbox, problem }] : []));
    const card = own.cardProblem ? { card: own.cardProblem } : {};
    const [first] = problems;
    if (first && problems.length === reports.length) {
      const entries = problems.every(({ problem }) => problem.isForNow) ? await this.withoutServer() : undefined;
      if (!entries) throw first.problem;
      return { entries, problems, ...card, withoutServer: true };
    }
    return { entries: merged(reports, await acks.read()), problems, ...card };
  }

  /** See `InboxClient.acknowledge`. */
  acknowledge(ids: readonly string[]): Promise<Report[]> {
    const { own, acks, missed } = this.#what;
    missed.forget(ids);
    return own.eachSource(async (inbox) => {
      await acks.remember([inbox], ids);
      const problem = await acks.tell(inbox);
      if (problem) throw problem;
    });
  }

  /** What contacts' indexes have and was not read here. Undefined where none can be read. */
  async withoutServer(): Promise<Entry[] | undefined> {
    const { own, acks, indexes } = this.#what;
    const { asked, entries, problems } = await indexes.read(own.now());
    if (problems.length === asked) return undefined;
    return foundEntries(entries, await acks.read(), own.now());
  }
}

function merged(reports: readonly Report<Listed[]>[], read: ReadonlySet<string>): Entry[] {
  const entries = new Map<string, Entry>();
  for (const { inbox, result = [] } of reports) {
    for (const listed of result.filter(({ id }) => !read.has(id))) {
      const inboxes = [...(entries.get(listed.id)?.inboxes ?? []), inbox];
      entries.set(listed.id, { ...listed, inboxes });
    }
  }
  return [...entries.values()];
}
