/** The owner's side of sealed delivery: the sheets of tickets at the own inboxes, and for whom they are. */
import { toBase64Url } from './bytes.js';
import type { Contacts } from './contacts.js';
import type { Inbox } from './inbox.js';
import { PublicKey } from './keys.js';
import type { AppKey } from './keys.js';
import { weekOf } from './pairs.js';
import type { SheetFile, SheetSet } from './sheetfile.js';
import type { State } from './state.js';
import { idsOf, MOST_IDS, perFor, SHEET_WEEKS } from './tickets.js';
import type { UnixTime } from './tokens.js';

export interface SheetsOptions {
  key: AppKey;
  state: State;
  contacts: Contacts;
  file: SheetFile;
  server: (url: string) => Inbox;
  /** Whether the app has sealed delivery on. */
  isOn: boolean;
}

/** What this device last published, as stored. */
interface Note extends SheetSet {
  /** When all sheets were last sent, whether they were there or not. */
  sentAt: UnixTime;
  /** The list of blocked that this device had claimed then. */
  claimed: string[];
}

const GATHER_SECONDS = 600; // for contacts who come together
const SEND_ALL_SECONDS = 86_400; // a server that was restored has older sheets of the same weeks, and cannot tell

export class Sheets {
  readonly #what: SheetsOptions;

  constructor(what: SheetsOptions) {
    this.#what = what;
  }

  /** Whether another edition is due: somebody was blocked, or somebody is new and the last edition is not too young. */
  async isDue(now: UnixTime): Promise<boolean> {
    const [note, { spoken, claimed }] = [await this.#note(), await this.#here()];
    if (!note) return false; // a look at what is there comes first
    if (isOther(claimed, note.claimed)) return true;
    const isNew = spoken.some(({ hex, address }) => !note.contacts.includes(hex) && !note.blocked.includes(address));
    return isNew && (note.contacts.length === 0 || Math.abs(now - note.edition) >= GATHER_SECONDS);
  }

  /**
   * What a card that names these inboxes may claim, once they have the sheets of these weeks; undefined where one of them
   * takes no tickets. With `sendAll`, sheets that a server says to have are sent, too; without `mayChange`, no new edition
   * is begun. Throws an `InboxError`: what the card claimed before holds as far as the inboxes can be reached.
   */
  async prepare(inboxes: readonly string[], now: UnixTime, { sendAll = false, mayChange = true } = {}): Promise<SheetSet | undefined> {
    if (!this.#what.isOn) return undefined;
    const servers = inboxes.map((url) => this.#what.server(url));
    const features = await Promise.all(servers.map((server) => server.hasFeature('sealed')));
    if (features.includes(false)) return undefined;
    const settings = await Promise.all(servers.map((server) => server.settings())); // all answer, before anything is changed
    const [note, set] = [await this.#note(), await this.#set(now, mayChange)];
    const isAll = sendAll || note?.edition !== set.edition || Math.abs(now - note.sentAt) >= SEND_ALL_SECONDS;
    await Promise.all(servers.map((server, at) => this.#send(server, set, now, isAll ? [] : (settings[at]?.tickets ?? []))));
    if (isAll && note) await this.#remember({ ...note, sentAt: now });
    return set;
  }

  /** The card that claims this is in the bucket. */
  async published(set: SheetSet, now: UnixTime): Promise<void> {
    const { claimed } = await this.#here();
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

  /** As all devices of the owner share it, with what this one knows. Another set of contacts is another edition. */
  async #set(now: UnixTime, mayChange: boolean): Promise<SheetSet> {
    const [note, { spoken, claimed }] = [await this.#note(), await this.#here()];
    return this.#what.file.update((before) => {
      if (before && !mayChange) return before;
      const blocked = before && !isOther(claimed, note?.claimed ?? []) ? before.blocked : claimed;
      const all = [...new Set([...(before?.contacts ?? []), ...spoken.map(({ hex }) => hex)])].sort();
      const contacts = all.filter((hex) => !blocked.includes(PublicKey.parse(hex).address)).slice(0, MOST_IDS);
      if (!before || isOther(contacts, before.contacts)) {
        return { contacts, blocked, per: perFor(contacts.length), edition: Math.max(now, (before?.edition ?? 0) + 1) };
      }
      return isOther(blocked, before.blocked) ? { ...before, blocked } : before;
    });
  }

  /** What this device knows. */
  async #here(): Promise<{ spoken: PublicKey[]; claimed: string[] }> {
    const { contacts } = this.#what;
    return { spoken: await contacts.mutual(), claimed: (await contacts.blocked()).sort() };
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
