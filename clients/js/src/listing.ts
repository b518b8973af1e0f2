/** Everything that one inbox lists as unread. */
import type { Inbox, Listed } from './inbox.js';
import { mark } from './marks.js';
import type { State } from './state.js';

const PAGE_ENTRIES = 1000;

/** Page by page, without what was read meanwhile. */
export async function listOf(inbox: Inbox, state: State): Promise<Listed[]> {
  const listed = new Map<string, Listed>();
  let page = await inbox.page(undefined, PAGE_ENTRIES);
  for (; ; page = await inbox.page(page.cursor, PAGE_ENTRIES)) {
    for (const each of page.messages) listed.set(each.id, each);
    for (const id of page.read) listed.delete(id);
    if (!page.more) break;
  }
  await mark(state, inbox, page.cursor);
  return [...listed.values()];
}
