/** The owner's side of sealed delivery: the sheets of tickets at the own inboxes, and for whom they are. */
import { toBase64Url } from './bytes.js';
import type { Contacts } from './contacts.js';
import { InboxError } from './errors.js';
import type { Inbox } from './inbox.js';
import { PublicKey } from './keys.js';
import type { AppKey } from './keys.js';
import type { OwnFile } from './ownfile.js';
import { weekOf } from './pairs.js';
import { contactsOf, merge, MOST_PEOPLE } from './people.js';
import type { People } from './people.js';
import type { State } from './state.js';
import { idsOf, perFor, SHEET_WEEKS } from './tickets.js';
import type { Sealed } from './tickets.js';
import type { UnixTime } from './tokens.js';

export interface SheetsOptions {
  key: AppKey;
  state: State;
  contacts: Contacts;
  file: OwnFile<People>;
  server: (url: string) => Inbox;
  /** Whether the app has sealed delivery on. */
  isOn: boolean;
}

export interface SheetSet extends Sealed {
  /** Keys in hex, in ascending order. */
  contacts: string[];
  /** Keys of those who were blocked, on whichever device. */
  out: string[];
}

interface Preparing {
  /** Sheets that a server says to have are sent, too. */
  sendAll?: boolean;
  /** What the card says now: every inbox has been sent the sheets of this edition. */
  claimed?: Sealed | undefined;
  /** Whether contacts who are new may wait until the edition is not too young. */
  isPatient?: boolean;
}

/** What this device last published, as stored. */
interface Note extends SheetSet {
  /** When all sheets were last sent, whether they were there or not. */
  sentAt: UnixTime;
  /** The list of blocked that this device had claimed then. */
  claimed: string[];
}

const GATHER_SECONDS = 3600; // for contacts who come together
const SEND_ALL_SECONDS = 86_400; // a server that was restored has older sheets of the same weeks, and cannot tell

export class Sheets {
  readonly #what: SheetsOptions;
  /** Why no tickets are given: the file that all devices share could not be read or written, or an inbox takes none. */
  problem: InboxError | undefined;

  constructor(what: SheetsOptions) {
    this.#what = what;
  }

  /** Whether another edition is due: somebody was blocked, or somebody is new and the last edition is not too young. */
  async isDue(now: UnixTime): Promise<boolean> {
    const [note, spoken, claimed] = [await this.#note(), await this.#what.contacts.spoken(), await this.#claimed()];
    if (!note) return false; // a look at what is there comes first
    if (isOther(claimed, note.claimed)) return true;
    if (note.contacts.length > 0 && Math.abs(now - note.edition) < GATHER_SECONDS) return false;
    const mutual = Object.keys(spoken).filter((hex) => spoken[hex]?.heard && spoken[hex].written);
    const isBlocked = (hex: string) => note.out.includes(hex) || claimed.includes(PublicKey.parse(hex).address);
    return note.contacts.length < MOST_PEOPLE && mutual.some((hex) => !note.contacts.includes(hex) && !isBlocked(hex));
  }

  /**
   * What a card that names these inboxes may claim, once they have the sheets of these weeks; undefined where one of them
   * takes no tickets. Throws an `InboxError`: what the card claimed before holds as far as the inboxes can be reached.
   */
  async prepare(inboxes: readonly string[], now: UnixTime, { sendAll = false, claimed, isPatient = false }: Preparing = {}): Promise<SheetSet | undefined> {
    this.problem = undefined;
    if (!this.#what.isOn) return undefined;
    const servers = inboxes.map((url) => this.#what.server(url));
    const features = await Promise.all(servers.map((server) => server.hasFeature('sealed')));
    if (features.includes(false)) {
      await this.#lack(inboxes.filter((_, at) => !features[at]));
      return undefined;
    }
    const settings = await Promise.all(servers.map((server) => server.settings())); // all answer, before anything is changed
    for (;;) {
      const [note, set] = [await this.#note(), await this.#set(now, isPatient)];
      const isSent = [note?.edition, claimed?.edition].includes(set.edition);
      const isAll = sendAll || !isSent || (note !== undefined && Math.abs(now - note.sentAt) >= SEND_ALL_SECONDS);
      await Promise.all(servers.map((server, at) => this.#send(server, set, now, isAll ? [] : (settings[at]?.tickets ?? []))));
      if (!isAll) return set;
      if (note) await this.#remember({ ...note, sentAt: now });
      const { known } = await this.#what.file.read();
      if (!known || known.edition <= set.edition) return set; // else another device may have sent newer sheets before these
    }
  }

  /** Says what it means that these take no tickets, if anybody has some. */
  async #lack(inboxes: readonly string[]): Promise<void> {
    const { contacts = [] } = (await this.#note()) ?? {};
    if (contacts.length === 0) return;
    const why = `${inboxes.join(', ')} takes no tickets, so the card offers none. What contacts send sealed waits until they let it be signed.`;
    this.problem = new InboxError(why);
  }

  /** The user may just have blocked somebody, or not block them any more. */
  async noteBlocked(now: UnixTime): Promise<void> {
    await this.#what.contacts.words(now);
  }

  /** The card that claims this is in the bucket. */
  async published(set: SheetSet, now: UnixTime): Promise<void> {
    const claimed = await this.#claimed();
    const { sentAt = now } = (await this.#note()) ?? {};
    await this.#remember({ ...set, claimed, sentAt });
  }

  /** For this week and the next ones, one after another: a sheet is a setting, and these have an order. */
  async #send(server: Inbox, { edition, per, contacts }: SheetSet, now: UnixTime, there: readonly number[]): Promise<void> {
    const first = weekOf(server.stated ?? now);
    for (let week = first; week < first + SHEET_WEEKS; week += 1) {
      if (there.includes(week)) continue;
      const ids = idsOf(this.#what.key, contacts, { origin: server.url, week, edition }, per);
      await server.keepSheet(week, toBase64Url(ids));
    }
  }

  /** As all devices of the owner share it, with what this one knows. Other people with tickets are another edition. */
  async #set(now: UnixTime, isPatient: boolean): Promise<SheetSet> {
    const [spoken, words] = [await this.#what.contacts.spoken(), await this.#what.contacts.words(now)];
    const note = await this.#note();
    const { edition, people } = await this.#update((known) => {
      const merged = merge(known?.people ?? {}, spoken, words);
      const isOlder = !known || known.edition < (note?.edition ?? 0); // it was lost, or is an old copy: then it is not written over
      const [last, before] = isOlder ? [note?.edition ?? 0, note?.contacts ?? []] : [known.edition, contactsOf(known.people)];
      const after = contactsOf(merged);
      const next = { edition: Math.max(now, last + 1), people: merged };
      if (last > 0 && !isOther(before, after)) next.edition = last;
      const isYoung = before.length > 0 && Math.abs(now - last) < GATHER_SECONDS;
      const mayWait = isPatient && isYoung && before.every((hex) => after.includes(hex));
      if (!isOlder && next.edition !== last && mayWait) return known;
      return JSON.stringify(next) === JSON.stringify(known) ? (known ?? next) : next;
    });
    await this.#what.contacts.learn(people);
    const contacts = contactsOf(people);
    return { edition, per: perFor(contacts.length), contacts, out: Object.keys(people).filter((hex) => people[hex]?.out) };
  }

  async #update(change: (known: People | undefined) => People): Promise<People> {
    try {
      return await this.#what.file.update(change);
    } catch (error) {
      if (error instanceof InboxError) this.problem = error;
      throw error;
    }
  }

  async #claimed(): Promise<string[]> {
    return (await this.#what.contacts.blocked()).sort();
  }

  async #note(): Promise<Note | undefined> {
    return (await this.#what.state.read<Note>('sheets')).own;
  }

  #remember(note: Note): Promise<boolean> {
    return this.#what.state.change<Note>('sheets', (sheets) => void (sheets.own = note));
  }
}

function isOther(one: readonly string[], other: readonly string[]): boolean {
  return one.join() !== other.join();
}
