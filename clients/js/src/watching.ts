/**
 * Waiting for news: a stream of events from every inbox, begun anew whenever it ends, where it ended.
 *
 * Where nothing comes through (a proxy that holds answers back until they are whole), an inbox is asked by held
 * requests instead.
 */
import type { Acks } from './acks.js';
import { InboxError, Refused, Unreachable } from './errors.js';
import { readEvents, Silence } from './events.js';
import type { Random } from './ecies.js';
import type { Handoff } from './handoff.js';
import type { Inbox } from './inbox.js';
import { noteListed } from './listing.js';
import { mark } from './marks.js';
import type { Merging } from './merging.js';
import type { News } from './news.js';
import { fraction } from './outbox.js';
import { readPage } from './pages.js';
import type { Page } from './pages.js';
import { chunksOf } from './requests.js';
import type { State } from './state.js';
import { parseObject } from './tokens.js';
import type { Sleep } from './waits.js';

const PAGE_ENTRIES = 100;
const HOLD_SECONDS = 50; // proxies cut what is silent for a minute
const SHORTEST_PAUSE_SECONDS = 1;
const LONGEST_PAUSE_SECONDS = 60;
const REPLACED_SECONDS = 60; // two readers that begin anew at once would take the place from each other for ever

export interface Listening {
  inbox: Inbox;
  acks: Acks;
  state: State;
  merging: Merging;
  news: Handoff<News>;
  random: Random;
  sleep: Sleep;
  silenceSeconds: number;
  /** Begin where the last `watch` ended, instead of with everything unread. */
  resume: boolean;
  /** Whether the own card, read anew, names other inboxes instead. */
  isLeft: (inbox: Inbox) => Promise<boolean>;
  /** The server does not know the place in the list any more: it may have been restored. */
  lost: () => void;
}

/** Follow one inbox until `signal` aborts, or until it is gone and the own card names it no more. */
export async function follow(what: Listening, signal: AbortSignal): Promise<void> {
  const { inbox, news, random, sleep } = what;
  const place: Place = { cursor: undefined, heard: false, isUp: false, holds: false };
  if (what.resume) place.cursor = (await what.state.read<string>('cursors'))[inbox.url];
  for (let failures = 0; !signal.aborted; failures += 1) {
    place.heard = false;
    const problem = await listen(what, place, signal);
    if (signal.aborted) return;
    if (place.heard && !isCrowded(problem)) failures = 0;
    const jitter = fraction(random) * Math.min(SHORTEST_PAUSE_SECONDS * 2 ** failures, LONGEST_PAUSE_SECONDS);
    const wished = problem instanceof Refused ? (problem.retryAfterSeconds ?? 0) : 0;
    const retrySeconds = Math.max(jitter, wished);
    if (problem && (!place.heard || isCrowded(problem))) {
      place.isUp = false;
      await news.give({ kind: 'down', inbox: inbox.url, problem, retrySeconds });
      if (problem instanceof Refused && problem.code === 'no_inbox' && (await what.isLeft(inbox))) {
        return news.give({ kind: 'left', inbox: inbox.url });
      }
    }
    if (isCrowded(problem)) await listAll(what, place, signal);
    await sleep(retrySeconds * 1000, signal);
  }
}

/** There is no place for another waiting reader: it was refused, or given to a more active one. Lists need none. */
function isCrowded(problem: InboxError | undefined): boolean {
  return problem instanceof Refused && /^(too_many|replaced)$/.test(problem.code);
}

/** Everything that is there now. A failure is not reported: it is tried again, like the stream. */
async function listAll(what: Listening, place: Place, signal: AbortSignal): Promise<void> {
  try {
    if (place.cursor === undefined) what.merging.startList(what.inbox.url);
    for (let more = true; more && !signal.aborted; ) {
      const page = await what.inbox.page(place.cursor, PAGE_ENTRIES, { signal });
      await take(what, place, page);
      more = page.more;
    }
  } catch (error) {
    if (!signal.aborted && !(error instanceof InboxError)) throw error;
    if (error instanceof Refused && isGone(error)) lose(what, place);
  }
}

/** When the server does not know the cursor any more, the whole list is read instead. */
function isGone({ code }: Refused): boolean {
  return code === 'cursor_gone' || code === 'bad_cursor';
}

function lose(what: Listening, place: Place): void {
  place.cursor = undefined;
  what.lost();
}

/** The state of listening to one inbox. */
interface Place {
  cursor: string | undefined;
  /** Whether anything came since the last time that it was begun. */
  heard: boolean;
  isUp: boolean;
  /** Whether it is asked by held requests, because no stream came through. */
  holds: boolean;
}

/** Until it ends: undefined for an orderly end, or else why. */
async function listen(what: Listening, place: Place, signal: AbortSignal): Promise<InboxError | undefined> {
  const silence = new Silence(what.silenceSeconds * 1000);
  try {
    await what.acks.tell(what.inbox); // else what was read here would be listed
    if (place.cursor === undefined) what.merging.startList(what.inbox.url);
    const pages = place.holds ? held(what, place, signal) : streamed(what, place, silence, signal);
    for await (const page of pages) await take(what, place, page);
    return undefined;
  } catch (error) {
    if (signal.aborted) return undefined;
    if (silence.signal.aborted) {
      place.holds ||= !place.heard;
      return new Unreachable('Nothing was heard from the server for too long.');
    }
    if (!(error instanceof InboxError)) throw error;
    if (error instanceof Refused && isGone(error)) lose(what, place);
    return error;
  } finally {
    silence.stop();
  }
}

async function* streamed(what: Listening, place: Place, silence: Silence, signal: AbortSignal): AsyncGenerator<Page> {
  silence.start();
  const response = await what.inbox.events(place.cursor, AbortSignal.any([signal, silence.signal]));
  for await (const { name, data } of readEvents(heard(what, place, silence, response))) {
    if (name === 'state') yield readPage(parse(data));
    if (name !== 'end') continue;
    const reason = String(parse(data).reason);
    if (reason === 'cursor_gone') lose(what, place);
    if (/^(token_expired|closeafter|stopping|cursor_gone)$/.test(reason)) return;
    if (reason === 'replaced') {
      const detail = "Another reader of this inbox took the stream's place.";
      throw new Refused(429, { code: reason, detail }, REPLACED_SECONDS);
    }
    throw new Refused(response.status, { code: reason, detail: 'The server ended the stream.' });
  }
  throw new Unreachable('The connection was cut off.');
}

async function* heard(what: Listening, place: Place, silence: Silence, response: Response): AsyncGenerator<Uint8Array> {
  const chunks = chunksOf(response);
  try {
    for (;;) {
      silence.start();
      const next = await chunks.next();
      silence.stop();
      if (next.done) return;
      await comeUp(what, place);
      yield next.value;
    }
  } catch (error) {
    if (error instanceof InboxError) throw error;
    throw new Unreachable('The connection was cut off.', { cause: error });
  } finally {
    await chunks.return();
  }
}

async function* held(what: Listening, place: Place, signal: AbortSignal): AsyncGenerator<Page> {
  for (let waitSeconds = 0; ; waitSeconds = HOLD_SECONDS) { // the first answer comes at once, and says that it is up
    const page = await what.inbox.page(place.cursor, PAGE_ENTRIES, { waitSeconds, signal });
    await comeUp(what, place);
    yield page;
  }
}

async function comeUp(what: Listening, place: Place): Promise<void> {
  place.heard = true;
  if (place.isUp) return;
  place.isUp = true;
  await what.news.give({ kind: 'up', inbox: what.inbox.url });
}

/** The cursor is stored after everything before it was handled, so that a crash loses nothing. */
async function take(what: Listening, place: Place, page: Page): Promise<void> {
  const { inbox, acks, state, merging, news } = what;
  const read = page.messages.length > 0 ? await acks.read() : new Set<string>();
  const again = merging.readBefore(inbox.url, page, read);
  if (again.length > 0) {
    await acks.remember([inbox], again);
    await acks.tell(inbox);
  }
  await acks.note(page.read);
  await noteListed(state, inbox, page);
  for (const each of merging.take(inbox.url, page, read, inbox.time)) await news.give(each);
  place.cursor = page.cursor;
  await mark(state, inbox, page.cursor);
  await state.change<string>('cursors', (cursors) => {
    cursors[inbox.url] = page.cursor;
  });
}

function parse(data: string): Record<string, unknown> {
  try {
    return parseObject(data);
  } catch {
    throw new Unreachable('The server sent an event that is not of the protocol.');
  }
}
