/** With whom the owner has spoken, on whichever device: `people.json` in the own bucket. Whose tickets are on the sheets follows from it. */
import { parseIdentity } from './identities.js';
import { PublicKey } from './keys.js';
import type { Form } from './ownfile.js';
import type { Table } from './state.js';
import type { UnixTime } from './tokens.js';

/** What was said and heard: merging is "or". */
export interface Spoken {
  /** A verified message of theirs came. */
  heard: boolean;
  /** Something was sent to them. */
  written: boolean;
  /** Something went sealed to them: nothing is signed for them any more unless the user says so. */
  sealed?: true;
  /** As whom they wrote or were written to, if not as a bare key: it leads to their bucket, at whichever hub. Merging takes the own one. */
  name?: string;
}

/** Whether the owner has blocked them, and when that was last changed, or 0: merging takes the later one. */
export interface Word {
  out: boolean;
  at: UnixTime;
}

export type Person = Spoken & Word;

export interface People {
  /** Of the sheets for exactly these people. */
  edition: number;
  /** By app public key. */
  people: Table<Person>;
}

export const MOST_PEOPLE = 1000;
export const PEOPLE: Form<People> = { name: 'people.json', maxBytes: 1 << 20, padBytes: 4096, read: readPeople };

const KEY = /^0[23][0-9a-f]{64}$/;
const NOBODY: Person = { heard: false, written: false, out: false, at: 0 };

/** Those who have tickets: keys in hex, in ascending order. */
export function contactsOf(people: Table<Person>): string[] {
  return Object.keys(people).filter((hex) => hasTickets(people[hex])).sort();
}

/**
 * What the file says with what this device knows: those who are new come last. `words` are by address, the newest of
 * `spoken` come first. Where they are too many, nobody who has tickets loses them to somebody new.
 */
export function merge(known: Table<Person>, spoken: Table<Spoken>, words: Table<Word>): Table<Person> {
  const hasWords = Object.keys(words).length > 0;
  const newest = Object.keys(spoken).filter((hex) => !known[hex]);
  const merged = (hex: string): Person => {
    const [before, here] = [known[hex] ?? NOBODY, spoken[hex] ?? NOBODY];
    const word = (hasWords && words[PublicKey.parse(hex).address]) || before;
    const isLater = word.at > before.at || (word.at === before.at && word.out);
    const { out, at } = isLater ? word : before;
    const said = { heard: before.heard || here.heard, written: before.written || here.written };
    return { ...said, out, at, ...optional({ sealed: before.sealed ?? here.sealed, name: here.name ?? before.name }) };
  };
  const all = new Map([...newest, ...Object.keys(known)].map((hex) => [hex, merged(hex)]));
  const rank = (hex: string) => (hasTickets(all.get(hex)) ? (hasTickets(known[hex]) ? 0 : 1) : all.get(hex)?.out ? 2 : 3);
  const kept = new Set([...all.keys()].sort((one, other) => rank(one) - rank(other)).slice(0, MOST_PEOPLE));
  const order = [...Object.keys(known), ...newest.reverse()].filter((hex) => kept.has(hex));
  return Object.fromEntries(order.map((hex) => [hex, all.get(hex) ?? NOBODY]));
}

function hasTickets(person: Person | undefined): boolean {
  return Boolean(person?.heard && person.written && !person.out);
}

function readPeople({ edition, people }: Record<string, unknown>): People {
  const all = Object.entries(people as Table<Person>);
  if (!isWhole(edition) || typeof people !== 'object') throw new TypeError('is no list of people');
  return { edition, people: Object.fromEntries(all.map(([hex, person]) => [hex, readPerson(hex, person)])) };
}

function readPerson(hex: string, { heard, written, out, at, sealed, name }: Person): Person {
  const isPerson = [heard, written, out, sealed ?? false].every((each) => typeof each === 'boolean') && isWhole(at) && KEY.test(hex);
  const isNamed = name === undefined || (typeof name === 'string' && parseIdentity(name).kind === 'name');
  if (!isPerson || !isNamed) throw new TypeError('is nobody');
  return { heard, written, out, at, ...optional({ sealed, name }) };
}

/** What may be missing. */
function optional({ sealed, name }: { sealed: boolean | undefined; name: string | undefined }): Pick<Spoken, 'sealed' | 'name'> {
  return { ...(sealed ? { sealed: true } : {}), ...(name === undefined ? {} : { name }) };
}

function isWhole(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}
