/** The first cursor of each day at each inbox: from there a move asks what has been read since. */
import type { Inbox } from './inbox.js';
import type { State } from './state.js';

const DAY_SECONDS = 86_400;
const MOST_DAYS = 100; // longer than servers remember what was read

/** Cursors by the day since 1970. */
type Days = Record<string, string>;

/** Keep `cursor` if it is the first of its day. */
export async function mark(state: State, { url, time }: Inbox, cursor: string): Promise<void> {
  const day = String(Math.floor(time / DAY_SECONDS));
  if ((await state.read<Days>('marks'))[url]?.[day] !== undefined) return;
  await state.change<Days>('marks', (marks) => {
    const days = Object.entries({ [day]: cursor, ...marks[url] }).sort(([one], [other]) => Number(one) - Number(other));
    marks[url] = Object.fromEntries(days.slice(-MOST_DAYS));
  });
}

/** The oldest first. */
export async function marksOf(state: State, url: string): Promise<string[]> {
  return (await markedDays(state, url)).map(({ cursor }) => cursor);
}

/** The same with the days since 1970. */
export async function markedDays(state: State, url: string): Promise<{ day: number; cursor: string }[]> {
  const days = Object.entries((await state.read<Days>('marks'))[url] ?? {});
  return days.map(([day, cursor]) => ({ day: Number(day), cursor })).sort((one, other) => one.day - other.day);
}
