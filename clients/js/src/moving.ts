/**
 * Moving an inbox to another server, without losing a message and without reading one twice: docs/protocol.md, "Moving
 * an inbox", has the order and why. Every step may be repeated, so a move that was cut off anywhere is repeated whole.
 */
import type { Acks } from './acks.js';
import { Carrying } from './carrying.js';
import type { MoveStep } from './carrying.js';
import { askCapabilities } from './check.js';
import { BadCard, CannotMove, Refused } from './errors.js';
import { isOrigin } from './identities.js';
import { forgetInbox, noteMove, unfinished } from './move.js';
import type { Move } from './move.js';
import type { Settled } from './options.js';
import type { Own } from './own.js';
import type { Claim } from './settings.js';
import type { State } from './state.js';

// A delivery that passed the door before it was shut may still wait for look-ups of names.
const UNDER_WAY_SECONDS = 30;

export interface MoveOptions {
  /** Which of several inboxes is left. */
  from?: string;
  /** A code for the new server. */
  invite?: string;
  signal?: AbortSignal;
}

export interface Account {
  own: Own;
  state: State;
  acks: Acks;
  options: Settled;
  publicKey: string;
}

export class Moving {
  readonly #account: Account;

  constructor(account: Account) {
    this.#account = account;
  }

  /** Every step as it is done. */
  async *move(to: string, { from, invite, signal }: MoveOptions = {}): AsyncGenerator<MoveStep> {
    if (!isOrigin(to)) throw new TypeError('Move to an origin such as https://inbox.example, without a slash at the end.');
    const { own, options } = this.#account;
    const inboxes = await this.#published();
    const move = inboxes.length === 0 ? await this.#first(to) : await this.#begin(inboxes, to, from);
    if (!move) return void (yield told('moved', `The inbox is at ${to}.`));
    if (move.from !== to) yield told('begun', `Moving from ${move.from} to ${to}.`);
    const { limits } = await askCapabilities(options.fetch, to);
    const settings = { ...move.settings, ...(invite === undefined ? {} : { invite }) };
    const most = limits?.max_retention_seconds;
    if (settings.retention !== undefined && most) settings.retention = Math.min(settings.retention, most);
    await own.server(to).claim(settings);
    if (move.from !== to) await this.#note(move); // now: a server that is none, or refuses, leaves everything as it was
    yield told('claimed', `Claimed the inbox at ${to}.`);
    const { sheets } = move.isPublished ? {} : await own.publish(replaced(inboxes, move), inboxes.length === 0);
    if (move.from !== to) await this.#note({ ...move, isPublished: true });
    yield told('published', `Published a card that names ${to}.`);
    if (sheets) yield told('sheets', sheets.message);
    if (move.from !== to) yield* this.#empty(move, signal ?? new AbortController().signal);
    await this.#finish(move.from);
    yield told('moved', `The inbox is at ${to}.`);
  }

  /** Where nothing was published yet there is nothing to carry: `from` and `to` are the same. */
  async #first(to: string): Promise<Move> {
    const { name } = this.#account.options;
    const settings = { ...(name === undefined ? {} : { names: [name] }), ...(await this.#remembered()) };
    return { from: to, to, settings, isPublished: false };
  }

  /** What the card names now, which another device may have changed; none where none was ever published. */
  async #published(): Promise<string[]> {
    try {
      const inboxes = await this.#account.own.inboxes({ fresh: true });
      if (this.#account.own.cardProblem) throw this.#account.own.cardProblem; // these are what it named before
      return inboxes.map(({ url }) => url);
    } catch (error) {
      if (error instanceof BadCard && error.isNone) return [];
      throw error;
    }
  }

  /** The move as it was begun before, or a new one; undefined when nothing is left to do. */
  async #begin(inboxes: string[], to: string, from: string | undefined): Promise<Move | undefined> {
    const begun = await unfinished(this.#account.state);
    if (begun && begun.to === to && (from ?? begun.from) === begun.from && (begun.isPublished || isOn(inboxes, begun))) return begun;
    if (begun && (begun.isPublished || (!inboxes.includes(begun.from) && inboxes.includes(begun.to)))) {
      throw new CannotMove(`A move from ${begun.from} to ${begun.to} is not finished: repeat that first.`);
    }
    const left = from === undefined ? inboxes.length > 1 : inboxes.includes(from);
    if (inboxes.includes(to) && !left) {
      await this.#note(undefined); // nobody followed a move that was begun: it is left off
      return undefined;
    }
    const old = from ?? inboxes[0];
    if (from === undefined && inboxes.length > 1) throw new CannotMove('The card names several inboxes: say which to move with `from`.');
    if (old === undefined || old === to || !inboxes.includes(old)) throw new CannotMove(`${old} is not an inbox on the card.`);
    return { from: old, to, settings: await this.#settings(old), isPublished: false };
  }

  /** What to ask of the new inbox. Of lists a server tells only the length: they are as they were last claimed here. */
  async #settings(old: string): Promise<Claim> {
    const [known, claimed] = [await this.#account.own.server(old).shown(), await this.#remembered()];
    if (!known) return claimed;
    const { name } = this.#account.options;
    const lists = { contacts: [], blocked: [], names: name === undefined ? [] : [name], ...claimed };
    const settings: Claim = { retention: known.retention, accept: known.accept };
    for (const list of ['contacts', 'blocked', 'names'] as const) {
      settings[list] = known[list] === 0 ? [] : [...new Set(lists[list])];
      if (settings[list].length === known[list]) continue;
      throw new CannotMove(
        `${old} has ${known[list]} ${list}, and ${settings[list].length} are known here: the server keeps only hashes of` +
          ` them. Set them again first, with \`claim({ ${list}: […] })\`.`,
      );
    }
    return settings;
  }

  async *#empty(move: Move, signal: AbortSignal): AsyncGenerator<MoveStep> {
    const { own, state, acks, publicKey, options } = this.#account;
    const [from, to] = [own.server(move.from), own.server(move.to)];
    const sleep = async (seconds: number) => {
      await options.sleep(seconds * 1000, signal);
      signal.throwIfAborted();
    };
    const carrying = new Carrying({ state, from, to, publicKey, sleep });
    if (!(yield* carrying.patiently(from, () => from.shown()))) return; // deleted before the move was cut off
    yield* carrying.patiently(from, () => from.claim({ accept: 'nobody' }));
    const untold = await acks.tell(from); // else what was read here would be carried as unread
    if (untold) throw untold;
    yield carrying.step('shut', `${from.url} takes no more deliveries.`);
    try {
      yield* carrying.unread();
      yield* carrying.changes();
      yield carrying.step('waiting', `Waiting ${UNDER_WAY_SECONDS} s for deliveries that were under way.`);
      await sleep(UNDER_WAY_SECONDS);
      yield* carrying.changes();
      yield* carrying.patiently(from, () => from.forget());
    } catch (error) {
      const isGone = error instanceof Refused && error.code === 'no_inbox' && !(await from.shown());
      if (!isGone) throw error; // else another device has carried everything and deleted it meanwhile
    }
  }

  async #remembered(): Promise<Claim> {
    return { ...(await this.#account.state.read<never>('settings')) };
  }

  #note(move: Move | undefined): Promise<void> {
    return noteMove(this.#account.state, move);
  }

  async #finish(left: string): Promise<void> {
    const { own, state } = this.#account;
    const named = (await own.inboxes()).map(({ url }) => url);
    if (!named.includes(left)) await forgetInbox(state, left, named);
    await this.#note(undefined);
  }
}

function told(kind: MoveStep['kind'], text: string): MoveStep {
  return { kind, text, carried: 0 };
}

/** Whether the card still leads to one of both: if not, another device has moved since, and has emptied the old one. */
function isOn(inboxes: readonly string[], { from, to }: Move): boolean {
  return inboxes.includes(from) || inboxes.includes(to);
}

function replaced(inboxes: readonly string[], { from, to }: Move): string[] {
  return inboxes.length === 0 ? [to] : [...new Set(inboxes.map((url) => (url === from ? to : url)))];
}
