/** Whom this user has heard from or written to: whose indexes an audit reads, and how far their messages came. */
import { PublicKey } from './keys.js';
import type { Person, Spoken, Word } from './people.js';
import type { State, Table } from './state.js';
import type { UnixTime } from './tokens.js';

/** As stored, by app public key. */
interface Known {
  /** A name, or the key itself. */
  identity: string;
  /** When a message of theirs was last fetched, or one to them sent. */
  last: UnixTime;
  /** The highest number of their messages that was fetched. */
  n?: number;
  /** Numbers below that were not. */
  gaps?: number[];
  /** Whether something was sent to them, and whether a message of theirs was fetched. */
  sent?: true;
  heard?: true;
  /** Whether a delivery to them went sealed; or not, because the user has decided to sign. */
  sealed?: boolean;
}

/** Where the owner stands with somebody, on whichever device. */
export interface Standing {
  /** Whether both have spoken. */
  isMutual: boolean;
  /** Whether a delivery to them went sealed: from then on none is signed unless the user says so on this device. */
  isSealed: boolean;
  /** Whether the owner has blocked them. */
  isOut?: boolean;
  name?: string;
}

/** `key` is not known of somebody on the list of contacts who was never met. */
export type Contact = Pick<Known, 'identity'> & { key?: PublicKey };

const LATELY_SECONDS = 40 * 86_400; // longer than an outbox repeats a delivery
const MOST_SHARED = 128; // of those whom another device has met: their indexes are asked for every day
const MOST_GAPS = 100;
const MOST = 1000; // those heard from longest ago are forgotten first

export class Contacts {
  readonly #state: State;

  constructor(state: State) {
    this.#state = state;
  }

  /**
   * Those who were met in the last weeks, those with whom any device has spoken, and those on the list of contacts that was
   * last claimed; without whom any device has blocked.
   */
  async lately(now: UnixTime): Promise<Contact[]> {
    const { contacts: listed = [], blocked = [] } = await this.#state.read<string[]>('settings');
    const [met, shared] = [await this.#state.read<Known>('contacts'), await this.#state.read<Standing>('standing')];
    const recent = Object.keys(met).filter((hex) => now - (met[hex]?.last ?? 0) < LATELY_SECONDS);
    const mutual = Object.keys(shared).filter((hex) => shared[hex]?.isMutual && !shared[hex].isOut).slice(-MOST_SHARED);
    const byAddress = new Map<string, Contact>(listed.map((address) => [address, { identity: address }]));
    for (const hex of new Set([...recent, ...mutual])) {
      const key = PublicKey.parse(hex);
      byAddress.set(key.address, { key, identity: met[hex]?.identity ?? shared[hex]?.name ?? hex });
    }
    const out = Object.keys(shared).filter((hex) => shared[hex]?.isOut).map((hex) => PublicKey.parse(hex).address);
    for (const address of [...blocked, ...out]) byAddress.delete(address);
    return [...byAddress.values()];
  }

  /** Whether numbers of somebody's messages were left out, and no audit has looked why. */
  async haveGaps(): Promise<boolean> {
    return Object.values(await this.#state.read<Known>('contacts')).some(({ gaps = [] }) => gaps.length > 0);
  }

  /** To whom something was sent here, and of whom a message was fetched: the newest first. */
  async spoken(): Promise<Table<Spoken>> {
    const known = Object.entries(await this.#state.read<Known>('contacts')).sort(newestFirst);
    const said = (hex: string, { sent, heard, sealed, identity }: Known): Spoken => ({
      ...{ heard: heard === true, written: sent === true },
      ...{ ...(sealed ? { sealed: true } : {}), ...(identity === hex ? {} : { name: identity }) },
    });
    return Object.fromEntries(known.map(([hex, each]) => [hex, said(hex, each)]));
  }

  /** What all devices share of people. */
  async learn(people: Table<Person>): Promise<void> {
    await this.#state.change<Standing>('standing', (standing) => {
      for (const [hex, { heard, written, out, sealed = false, name }] of Object.entries(people)) {
        const before = standing[hex] ?? { isMutual: false, isSealed: false };
        const now = { isMutual: before.isMutual || (heard && written), isSealed: before.isSealed || sealed, isOut: out };
        if (standing[hex] || now.isMutual || out) standing[hex] = { ...before, ...now, ...(name === undefined ? {} : { name }) };
      }
    });
  }

  async standing({ hex }: PublicKey): Promise<Standing> {
    const { sent, heard, sealed } = (await this.#state.read<Known>('contacts'))[hex] ?? {};
    const { isMutual = false, isSealed = false } = (await this.#state.read<Standing>('standing'))[hex] ?? {};
    return { isMutual: isMutual || Boolean(sent && heard), isSealed: sealed ?? isSealed };
  }

  /** Whom the user blocked here, or not any more, and since when: by address. */
  async words(now: UnixTime): Promise<Table<Word>> {
    const blocked = await this.blocked();
    const words = await this.#state.read<Word>('words');
    const isNew = (address: string) => Boolean(words[address]?.out) !== blocked.includes(address);
    const changed = [...new Set([...blocked, ...Object.keys(words)])].filter(isNew);
    if (changed.length === 0) return words;
    await this.#state.change<Word>('words', (next) => {
      for (const address of changed) next[address] = { out: blocked.includes(address), at: Math.max(now, (next[address]?.at ?? 0) + 1) };
    });
    return this.#state.read<Word>('words');
  }

  /** Whom the user blocked, as it was last claimed here: addresses. */
  async blocked(): Promise<string[]> {
    return [...((await this.#state.read<string[]>('settings')).blocked ?? [])];
  }

  /** On whichever device. */
  async isBlocked({ hex, address }: PublicKey): Promise<boolean> {
    return (await this.blocked()).includes(address) || (await this.#state.read<Standing>('standing'))[hex]?.isOut === true;
  }

  /** A delivery to them went sealed, so that no other is signed; or the user says that one may be. */
  async seal(key: PublicKey, sealed: boolean): Promise<void> {
    if ((await this.#state.read<Known>('contacts'))[key.hex]?.sealed === sealed) return;
    await this.#state.change<Known>('contacts', (contacts) => {
      const known = contacts[key.hex];
      if (known) known.sealed = sealed;
    });
  }

  /** A message was just sent, or fetched: `n` is its number, where it has one. */
  async meet(key: PublicKey, identity: string, now: UnixTime, how: 'sent' | 'heard', n?: number): Promise<void> {
    await this.#state.change<Known>('contacts', (contacts) => {
      const before = contacts[key.hex];
      contacts[key.hex] = { ...before, identity, last: now, [how]: true, ...(n === undefined ? {} : counted(n, before)) };
      const oldest = Object.entries(contacts).sort(newestFirst).slice(MOST);
      for (const [hex] of oldest) delete contacts[hex];
    });
  }

  /** An audit has looked why numbers were left out. */
  async settleGaps(): Promise<void> {
    await this.#state.change<Known>('contacts', (contacts) => {
      for (const contact of Object.values(contacts)) delete contact.gaps;
    });
  }
}

function newestFirst([, one]: [string, Known], [, other]: [string, Known]): number {
  return other.last - one.last;
}

function counted(n: number, { n: highest = 0, gaps = [] }: Partial<Known> = {}): Pick<Known, 'n' | 'gaps'> {
  if (n <= highest) return { n: highest, gaps: gaps.filter((gap) => gap !== n) };
  const first = highest === 0 ? n : Math.max(highest + 1, n - MOST_GAPS);
  const skipped = Array.from({ length: n - first }, (_, at) => first + at);
  return { n, gaps: [...gaps, ...skipped].slice(-MOST_GAPS) };
}
