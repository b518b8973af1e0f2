/** Several inboxes as one: an entry is told once, and so is that it was read, whoever says so first or again. */
import type { Entry, News } from './news.js';
import type { Listed, Page } from './pages.js';
import type { UnixTime } from './tokens.js';

interface Known {
  expires: UnixTime;
  isRead: boolean;
  inboxes: Set<string>;
}

const PRUNE_ABOVE = 10_000; // what an inbox holds at most, usually

export class Merging {
  readonly #known = new Map<string, Known>();
  readonly #notices = new Map<string, string[]>();
  /** What an inbox has listed since it was asked for everything, until that list is complete. */
  readonly #lists = new Map<string, Set<string>>();

  /** From here on this inbox lists everything anew: what it alone listed and does not list any more was read meanwhile. */
  startList(inbox: string): void {
    this.#lists.set(inbox, new Set());
  }

  /**
   * Entries that a page lists as unread although they were read: a restored server must be told again. Those of `read`, which
   * were read before this watch began, too, where the page is of a whole list.
   */
  readBefore(inbox: string, page: Page, read: ReadonlySet<string>): string[] {
    const isOfList = this.#lists.has(inbox);
    return page.messages.map(({ id }) => id).filter((id) => this.#known.get(id)?.isRead || (isOfList && read.has(id)));
  }

  /** What no inbox listed, and a contact's index has. */
  found(entries: readonly Entry[]): News[] {
    return entries.flatMap((entry) => {
      const known = this.#known.has(entry.id);
      if (!known) this.#known.set(entry.id, { expires: entry.expires, isRead: false, inboxes: new Set() });
      return known ? [] : [{ kind: 'message', entry }];
    });
  }

  /** What is new in a page; what is in `wasRead` is not. */
  take(inbox: string, page: Page, wasRead: ReadonlySet<string>, now: UnixTime): News[] {
    const list = this.#lists.get(inbox);
    for (const { id } of page.messages) list?.add(id);
    const news = [
      ...page.messages.flatMap((listed) => this.#message(inbox, listed, wasRead)),
      ...page.read.flatMap((id) => this.#read(id)),
      ...this.#noticed(inbox, page.notices),
    ];
    if (list && !page.more) {
      this.#lists.delete(inbox);
      news.push(...this.#missing(inbox, list, now));
    }
    if (this.#known.size > PRUNE_ABOVE) this.#prune(now);
    return news;
  }

  #message(inbox: string, listed: Listed, wasRead: ReadonlySet<string>): News[] {
    const known = this.#known.get(listed.id);
    if (known) {
      known.expires = Math.max(known.expires, listed.expires);
      known.inboxes.add(inbox);
      return [];
    }
    const isRead = wasRead.has(listed.id);
    this.#known.set(listed.id, { expires: listed.expires, isRead, inboxes: new Set([inbox]) });
    const entry: Entry = { ...listed, inboxes: [inbox] };
    return isRead ? [] : [{ kind: 'message', entry }];
  }

  #read(id: string): News[] {
    const known = this.#known.get(id);
    if (known?.isRead) return [];
    const expires = known?.expires ?? Number.POSITIVE_INFINITY; // a copy may come late from another inbox
    this.#known.set(id, { expires, isRead: true, inboxes: known?.inboxes ?? new Set() });
    return [{ kind: 'read', id }];
  }

  /** Nobody has said that these were read: one that is listed again, or by another inbox, is unread. */
  #missing(inbox: string, list: ReadonlySet<string>, now: UnixTime): News[] {
    const news: News[] = [];
    for (const [id, { inboxes, isRead, expires }] of this.#known) {
      if (isRead || expires <= now || list.has(id) || !inboxes.delete(inbox) || inboxes.size > 0) continue;
      this.#known.delete(id);
      news.push({ kind: 'read', id });
    }
    return news;
  }

  #noticed(inbox: string, notices: string[]): News[] {
    const before = this.#notices.get(inbox) ?? [];
    this.#notices.set(inbox, notices);
    return notices.filter((notice) => !before.includes(notice)).map((notice) => ({ kind: 'notice', inbox, notice }));
  }

  #prune(now: UnixTime): void {
    for (const [id, { expires }] of this.#known) if (expires <= now) this.#known.delete(id);
  }
}
