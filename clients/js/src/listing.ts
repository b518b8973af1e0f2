/** Everything that one inbox lists as unread, and a note of what it listed: an audit holds its log against that. */
import type { ContactEntry } from './contactindexes.js';
import { Refused } from './errors.js';
import type { Inbox } from './inbox.js';
import { isLogged } from './log.js';
import type { CheckedLog } from './log.js';
import { mark, markedDays } from './marks.js';
import type { Entry } from './news.js';
import type { Listed, Page } from './pages.js';
import type { State } from './state.js';
import type { UnixTime } from './tokens.js';

const PAGE_ENTRIES = 1000;
const MOST_NOTED = 2000; // of one inbox between two audits
const CLOCK_SECONDS = 60; // how well the server's time is known

/** By `id`: until when it must be in the log. */
type Noted = Record<string, UnixTime>;

/** Page by page, without what was read meanwhile. */
export async function listOf(inbox: Inbox, state: State): Promise<{ listed: Listed[]; cursor: string; swapped: string[] }> {
  const listed = new Map<string, Listed>();
  const swapped: string[] = [];
  let page = await inbox.page(undefined, PAGE_ENTRIES);
  for (; ; page = await inbox.page(page.cursor, PAGE_ENTRIES)) {
    for (const each of page.messages) listed.set(each.id, each);
    for (const id of page.read) listed.delete(id);
    swapped.push(...page.swapped);
    await noteListed(state, inbox, page);
    if (!page.more) break;
  }
  await mark(state, inbox, page.cursor);
  return { listed: [...listed.values()], cursor: page.cursor, swapped };
}

/** Keep what the protocol says that the log must have. */
export async function noteListed(state: State, { url, time }: Inbox, { messages, swapped }: Page): Promise<void> {
  if (swapped.length > 0) return; // an audit finds that
  const before = (await state.read<Noted>('listed'))[url] ?? {};
  const fresh = messages.filter(({ id, expires }) => before[id] !== expires && isLogged(expires, time + CLOCK_SECONDS));
  if (fresh.length === 0) return;
  await state.change<Noted>('listed', (noted) => {
    const all = { ...noted[url], ...Object.fromEntries(fresh.map(({ id, expires }) => [id, expires])) };
    noted[url] = Object.fromEntries(Object.entries(all).slice(-MOST_NOTED));
  });
}

export async function listedBefore(state: State, url: string): Promise<Map<string, UnixTime>> {
  return new Map(Object.entries((await state.read<Noted>('listed'))[url] ?? {}));
}

/**
 * Of what was held against the log, what is not in it is left to the next audit: for the rest, from here on the checkpoint
 * stands. What was not held against it is of an inbox before this one, and goes.
 */
export async function settleListed(state: State, url: string, held: ReadonlyMap<string, UnixTime>, { numbers, at }: CheckedLog): Promise<void> {
  await state.change<Noted>('listed', (noted) => {
    const left = [...held].filter(([id, until]) => !numbers.has(id) && until > at);
    if (left.length > 0) noted[url] = Object.fromEntries(left);
    else delete noted[url];
  });
}

/**
 * The same since the oldest cursor that the server still knows: another device may have read something before the last
 * audit that was delivered after it. `day` is that of the cursor.
 */
export async function changesSinceOldest(inbox: Inbox, state: State): Promise<{ shown: Set<string>; day: number } | undefined> {
  for (const { day, cursor } of await markedDays(state, inbox.url)) {
    const shown = await changesSince(inbox, cursor);
    if (shown) return { shown, day };
  }
  return undefined;
}

/** What is unread, or was read, since a cursor. Undefined where the server no longer knows. */
export async function changesSince(inbox: Inbox, cursor: string): Promise<Set<string> | undefined> {
  const shown = new Set<string>();
  try {
    for (let after = cursor; ; ) {
      const page = await inbox.page(after, PAGE_ENTRIES);
      for (const id of [...page.messages.map((each) => each.id), ...page.read]) shown.add(id);
      if (!page.more) return shown;
      after = page.cursor;
    }
  } catch (error) {
    if (error instanceof Refused && /^(cursor_gone|bad_cursor)$/.test(error.code)) return undefined;
    throw error;
  }
}

/** What was found in contacts' indexes, as entries to fetch; each once. */
export function foundEntries(found: readonly ContactEntry[], read: ReadonlySet<string>, now: UnixTime): Entry[] {
  const entries = new Map<string, Entry>();
  for (const { entry, id, from, n, expires } of found) {
    if (!read.has(entry) && expires > now) entries.set(entry, { id: entry, messageId: '', expires, inboxes: [], found: { id, from, n } });
  }
  return [...entries.values()];
}
