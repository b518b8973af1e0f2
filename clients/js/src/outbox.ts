/**
 * Deliveries that were begun and not yet answered by every inbox of their recipient. The exact body is kept, so that a
 * repeat is the same delivery: encrypting anew would make another entry.
 */
import { receiptKeysOf } from './card.js';
import type { Card } from './card.js';
import type { Random } from './ecies.js';
import { BadCard, InboxError, Refused, Unreachable } from './errors.js';
import type { Receipt } from './delivery.js';
import type { Slot } from './indexes.js';
import type { Taken, Way } from './sealing.js';
import type { State, Table } from './state.js';
import type { Sealed } from './tickets.js';
import type { UnixTime } from './tokens.js';
import { Turns } from './turns.js';
import { LONGEST_WAIT_SECONDS } from './waits.js';

const LOOK_AGAIN_SECONDS = 86_400;
const FIRST_PAUSE_SECONDS = 30;
const LONGEST_PAUSE_SECONDS = 3600;
const GIVE_UP_SECONDS = 30 * 86_400;
const AT_ONCE = 4; // to one inbox: one that hangs holds nobody else up
/** In place of the inboxes of a recipient whose card cannot be read at the moment. */
export const UNKNOWN_INBOX = '';

export interface Delivery {
  /** The message's ID, which is its file's name in the sender's bucket. */
  id: string;
  recipient: string;
  body: string;
  begunAt: UnixTime;
  lookedUpAt: UnixTime;
  /** Inboxes that have not answered yet, how often each was tried, since when it waits, and when it may be tried again. */
  waiting: Record<string, { tries: number; since: UnixTime; notBefore: UnixTime }>;
  /** Inboxes that stored it or refused it. */
  done: string[];
  /** Deliveries of older versions have neither receipts nor a place in an index. */
  proof?: Proof;
  /** The tickets that it took, by inbox. */
  tickets?: Table<Taken>;
}

/** What the receipts of a delivery are checked against, and where they are kept. */
export interface Proof extends Slot {
  expires: UnixTime;
  /** The receipt keys on the recipient's card, by inbox. */
  keys: Table<string>;
  /** What that card says of tickets. */
  sealed?: Sealed;
  /** Whether both had spoken before this message. */
  isMutual?: boolean;
}

/** A message that is about to be delivered. */
export type Outgoing = Pick<Delivery, 'id' | 'recipient' | 'body' | 'proof'>;

export interface Delivered extends Receipt {
  /** `signed` where the recipient gives no tickets. */
  way: Way;
}

/** What became of a message, inbox by inbox. It is safe with the recipient's server when `stored` has one or more. */
export interface SendReport {
  id: string;
  recipient: string;
  stored: (Delivered & { inbox: string })[];
  /**
   * Not reachable, or not for now, or not accepted while the recipient's card, which may name another inbox, cannot be
   * read: kept and tried again by `retry` and `watch`, for 30 days. `inbox` is empty where no card could be read at all.
   */
  waiting: { inbox: string; problem: InboxError; notBefore: UnixTime }[];
  /** For good. */
  refused: { inbox: string; problem: Refused }[];
  /** Whether what waits is in the storage. Where that is full, it is repeated only until the page is left. */
  isKept: boolean;
  /** Why the own index, which the recipient audits by, could not be written. The next `send` or `retry` makes up for it. */
  index?: InboxError;
}

export interface OutboxOptions {
  state: State;
  clock: () => UnixTime;
  /** What a server of our own says the time is; undefined where none does. */
  askTime: () => Promise<UnixTime | undefined>;
  random: Random;
  deliver: (inbox: string, delivery: Delivery) => Promise<Delivered>;
  /** What the recipient's card says now. */
  cardOf: (recipient: string) => Promise<Card>;
  /** Puts the delivery and its new receipts into the own index. Returns why it could not. */
  index: (delivery: Delivery & { proof: Proof }, stored: SendReport['stored']) => Promise<InboxError | undefined>;
}

/** A round of tries, and which inboxes did not answer at all in it. */
type Silent = Map<string, Unreachable>;

export class Outbox {
  readonly #options: OutboxOptions;
  readonly #turns = new Turns(AT_ONCE);
  readonly #busy = new Set<string>();

  constructor(options: OutboxOptions) {
    this.#options = options;
  }

  /** Keep it first, then deliver it. When the card cannot be read at the moment, `inboxes` is the reason. */
  async send(outgoing: Outgoing, inboxes: readonly string[] | Unreachable): Promise<SendReport> {
    const { id } = outgoing;
    const now = this.#options.clock();
    const places = inboxes instanceof Unreachable ? [UNKNOWN_INBOX] : inboxes;
    const waiting = Object.fromEntries(places.map((inbox) => [inbox, { tries: 0, since: now, notBefore: now }]));
    const delivery: Delivery = { ...outgoing, begunAt: now, lookedUpAt: now, waiting, done: [] };
    this.#busy.add(id);
    try {
      await this.#keep(delivery);
      const report = await this.#deliver(delivery, new Map(inboxes instanceof Unreachable ? [[UNKNOWN_INBOX, inboxes]] : []));
      return await this.#toIndex(delivery, report);
    } finally {
      this.#busy.delete(id);
    }
  }

  /** What waits, whether it is due or not. */
  async waiting(): Promise<Delivery[]> {
    return Object.values(await this.#options.state.read<Delivery>('outbox'));
  }

  /** Try again what is due, all at once; a report for each delivery that was tried, told as soon as it is there. */
  async retry(tell: (report: SendReport) => unknown = () => undefined, only?: string): Promise<SendReport[]> {
    const silent: Silent = new Map();
    const isMeant = ({ id }: Delivery) => !this.#busy.has(id) && (only ?? id) === id;
    const due = (await this.waiting()).filter((each) => isMeant(each) && this.#due(each).length > 0);
    for (const { id } of due) this.#busy.add(id);
    return Promise.all(
      due.map(async (delivery) => {
        try {
          let report = await this.#retry(delivery, silent);
          if (report.stored.length > 0) report = await this.#toIndex(delivery, report);
          await tell(report);
          return report;
        } finally {
          this.#busy.delete(delivery.id);
        }
      }),
    );
  }

  /** Try one again at once. Undefined where it does not wait. */
  async retryNow(id: string): Promise<SendReport | undefined> {
    await this.#options.state.change<Delivery>('outbox', (kept) => {
      for (const wait of Object.values(kept[id]?.waiting ?? {})) wait.notBefore = 0;
    });
    return (await this.retry(undefined, id))[0];
  }

  async #retry(delivery: Delivery, silent: Silent): Promise<SendReport> {
    if (await this.#isTooOld(delivery)) {
      return this.#giveUp(delivery, new Refused(0, { code: 'gave_up', detail: 'It waited for 30 days.' }));
    }
    const age = Math.abs(this.#options.clock() - delivery.lookedUpAt);
    if (age < LOOK_AGAIN_SECONDS && !(UNKNOWN_INBOX in delivery.waiting)) return this.#deliver(delivery, silent);
    const problem = await this.#lookAgain(delivery);
    if (!(UNKNOWN_INBOX in delivery.waiting)) return this.#deliver(delivery, silent);
    if (problem instanceof InboxError && !problem.isForNow) {
      return this.#giveUp(delivery, new Refused(0, { code: 'no_card', detail: problem.message }));
    }
    const why = new Unreachable(problem?.message ?? '');
    return this.#deliver(delivery, new Map([...silent, [UNKNOWN_INBOX, why]]));
  }

  /** It is delivered whether the index can be written or not. */
  async #toIndex({ proof, ...delivery }: Delivery, report: SendReport): Promise<SendReport> {
    const index = proof && (await this.#options.index({ ...delivery, proof }, report.stored));
    return index ? { ...report, index } : report;
  }

  /** By the time of an own inbox: a clock that goes wrong for a moment must not empty the outbox. */
  async #isTooOld({ begunAt }: Delivery): Promise<boolean> {
    if (!(this.#options.clock() - begunAt >= GIVE_UP_SECONDS)) return false;
    return ((await this.#options.askTime()) ?? 0) - begunAt >= GIVE_UP_SECONDS;
  }

  async #giveUp(delivery: Delivery, problem: Refused): Promise<SendReport> {
    const refused = Object.keys(delivery.waiting).map((inbox) => ({ inbox, problem }));
    delivery.waiting = {};
    return { ...emptyReport(delivery), refused, isKept: await this.#keep(delivery) };
  }

  async #deliver(delivery: Delivery, silent: Silent): Promise<SendReport> {
    const report = emptyReport(delivery);
    const attempt = (inbox: string) => this.#attempt(delivery, inbox, report, silent);
    await Promise.all(this.#due(delivery).map(attempt));
    if (report.refused.some(isNotAccepted)) {
      // The recipient may have moved, so it is not final before the card says so.
      const problem = await this.#lookAgain(delivery);
      const isDecided = !problem || (problem instanceof BadCard && problem.isNone && !problem.isForNow);
      if (isDecided) await Promise.all(this.#due(delivery).map(attempt));
      else this.#reopen(delivery, report);
    }
    report.isKept = await this.#keep(delivery);
    return report;
  }

  /** A time noted while the clock was ahead does not make a delivery wait longer once the clock is right. */
  #due(delivery: Delivery): string[] {
    const now = this.#options.clock();
    const isDue = (since: UnixTime, notBefore: UnixTime) => notBefore <= now || now < since || notBefore > now + LONGEST_WAIT_SECONDS;
    return Object.entries(delivery.waiting).flatMap(([inbox, { since, notBefore }]) => (isDue(since, notBefore) ? [inbox] : []));
  }

  async #attempt(delivery: Delivery, inbox: string, report: SendReport, silent: Silent): Promise<void> {
    try {
      const receipt = await this.#turns.take(inbox, () => this.#ask(delivery, inbox, silent));
      report.stored.push({ inbox, ...receipt });
    } catch (problem) {
      if (!(problem instanceof Unreachable || problem instanceof Refused)) throw problem;
      if (problem.isForNow) {
        report.waiting.push({ inbox, problem, notBefore: this.#pause(delivery, inbox, problem) });
        return;
      }
      report.refused.push({ inbox, problem: problem as Refused });
    }
    delete delivery.waiting[inbox];
    delivery.done.push(inbox);
  }

  /** An inbox that did not answer at all is not tried with another delivery in the same round. */
  async #ask(delivery: Delivery, inbox: string, silent: Silent): Promise<Delivered> {
    const before = silent.get(inbox);
    if (before) throw before;
    try {
      return await this.#options.deliver(inbox, delivery);
    } catch (problem) {
      if (problem instanceof Unreachable && problem.cause !== undefined) silent.set(inbox, problem);
      throw problem;
    }
  }

  /** A random time below a limit that grows, so that senders do not return all at once; or as long as the server says. */
  #pause(delivery: Delivery, inbox: string, problem: Unreachable | Refused): UnixTime {
    const tries = delivery.waiting[inbox]?.tries ?? 0;
    const most = Math.min(FIRST_PAUSE_SECONDS * 2 ** Math.min(tries, 10), LONGEST_PAUSE_SECONDS);
    const wished = problem instanceof Refused ? problem.retryAfterSeconds : undefined;
    const pause = Math.min(Math.ceil(wished ?? fraction(this.#options.random) * most), LONGEST_WAIT_SECONDS);
    const since = this.#options.clock();
    delivery.waiting[inbox] = { tries: tries + 1, since, notBefore: since + pause };
    return since + pause;
  }

  #reopen(delivery: Delivery, report: SendReport): void {
    for (const { inbox, problem } of report.refused.filter(isNotAccepted)) {
      delivery.done = delivery.done.filter((each) => each !== inbox);
      report.waiting.push({ inbox, problem, notBefore: this.#pause(delivery, inbox, problem) });
    }
    report.refused = report.refused.filter((each) => !isNotAccepted(each));
  }

  /**
   * Follow the recipient's card: inboxes that left it are given up, and new ones are delivered to. Why it could not be
   * read, if so; then what was known of the recipient stays.
   */
  async #lookAgain(delivery: Delivery): Promise<InboxError | undefined> {
    const now = this.#options.clock();
    try {
      const card = await this.#options.cardOf(delivery.recipient);
      if (delivery.proof) Object.assign(delivery.proof, { keys: receiptKeysOf(card), sealed: card.sealed });
      const open = card.inboxes.filter((inbox) => !delivery.done.includes(inbox));
      delivery.waiting = Object.fromEntries(
        open.map((inbox) => [inbox, delivery.waiting[inbox] ?? { tries: 0, since: now, notBefore: now }]),
      );
      delivery.lookedUpAt = now;
      return undefined;
    } catch (error) {
      if (!(error instanceof InboxError)) throw error;
      return error;
    }
  }

  #keep(delivery: Delivery): Promise<boolean> {
    return this.#options.state.change<Delivery>('outbox', (kept) => {
      if (Object.keys(delivery.waiting).length > 0) kept[delivery.id] = delivery;
      else delete kept[delivery.id];
    });
  }
}

function emptyReport({ id, recipient }: Delivery): SendReport {
  return { id, recipient, stored: [], waiting: [], refused: [], isKept: true };
}

function isNotAccepted({ problem }: { problem: Refused }): boolean {
  return problem.code === 'not_accepted';
}

/** From 0 up to 1, in steps of 2^-32. */
export function fraction(random: Random): number {
  const bytes = random(4);
  return new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0) / 2 ** 32;
}
