/**
 * Deliveries that were begun and not yet answered by every inbox of their recipient. The exact body is kept, so that a
 * repeat is the same delivery: encrypting anew would make another entry.
 */
import { receiptKeysOf } from './card.js';
import type { Card } from './card.js';
import type { Random } from './ecies.js';
import { BadCard, InboxError, KeyChanged, NotProven, Refused, Unreachable } from './errors.js';
import type { Delivered, Delivery, Outgoing, Proof, SendReport } from './delivery.js';
import type { State } from './state.js';
import type { UnixTime } from './tokens.js';
import { Turns } from './turns.js';
import { LONGEST_WAIT_SECONDS } from './waits.js';

const FRESH_SECONDS = 60; // for so long, a card that was read counts as what it says now
const FIRST_PAUSE_SECONDS = 30;
const LONGEST_PAUSE_SECONDS = 3600;
const GIVE_UP_SECONDS = 30 * 86_400;
const AT_ONCE = 4; // to one inbox: one that hangs holds nobody else up
/** In place of the inboxes of a recipient whose card cannot be read at the moment. */
export const UNKNOWN_INBOX = '';

export interface OutboxOptions {
  state: State;
  clock: () => UnixTime;
  /** What a server of our own says the time is; undefined where none does. */
  askTime: () => Promise<UnixTime | undefined>;
  random: Random;
  deliver: (inbox: string, delivery: Delivery) => Promise<Delivered>;
  /** What the recipient's card says now. `key` is the one that the message is encrypted to. */
  cardOf: (recipient: string, key?: string) => Promise<Card>;
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
    const due = (await this.waiting()).filter((each) => isMeant(each) && (this.#due(each).length > 0 || this.#mayHaveMoved(each)));
    for (const { id } of due) this.#busy.add(id);
    const reports = await Promise.all(
      due.map(async (delivery) => {
        try {
          let report = await this.#retry(delivery, silent);
          if (report && report.stored.length > 0) report = await this.#toIndex(delivery, report);
          if (report) await tell(report);
          return report;
        } finally {
          this.#busy.delete(delivery.id);
        }
      }),
    );
    return reports.filter((report) => report !== undefined);
  }

  /** What waits for tickets of this key's may be tried at once: it may be signed now. */
  async letGo(to: string): Promise<void> {
    await this.#options.state.change<Delivery>('outbox', (kept) => {
      const waits = Object.values(kept).filter(({ proof }) => proof?.to === to).flatMap(({ waiting }) => Object.values(waiting));
      for (const wait of waits) if (wait.code === 'no_tickets') wait.notBefore = 0;
    });
  }

  /** Try one again at once. Undefined where it does not wait. */
  async retryNow(id: string): Promise<SendReport | undefined> {
    await this.#options.state.change<Delivery>('outbox', (kept) => {
      for (const wait of Object.values(kept[id]?.waiting ?? {})) wait.notBefore = 0;
    });
    return (await this.retry(undefined, id))[0];
  }

  /** With what the card says now. Undefined where that leads to no inbox that may be asked already. */
  async #retry(delivery: Delivery, silent: Silent): Promise<SendReport | undefined> {
    if (await this.#isTooOld(delivery)) {
      return this.#giveUp(delivery, new Refused(0, { code: 'gave_up', detail: 'It waited for 30 days.' }));
    }
    const isFresh = Math.abs(this.#options.clock() - delivery.lookedUpAt) < FRESH_SECONDS && !(UNKNOWN_INBOX in delivery.waiting);
    const problem = isFresh ? undefined : await this.#lookAgain(delivery);
    if (problem instanceof KeyChanged) return this.#giveUp(delivery, new Refused(0, { code: 'key_changed', detail: problem.message }));
    if (UNKNOWN_INBOX in delivery.waiting) {
      if (problem && (isOver(problem) || (problem instanceof NotProven && !problem.isForNow))) return this.#giveUp(delivery, new Refused(0, { code: 'no_card', detail: problem.message }));
      silent = new Map([...silent, [UNKNOWN_INBOX, new Unreachable(problem?.message ?? '')]]);
    }
    if (this.#due(delivery).length > 0) return this.#deliver(delivery, silent);
    await this.#keep(delivery);
    return undefined;
  }

  /**
   * A server that is closing asks for a long pause, and its owners move away meanwhile. So the card is read again after a
   * minute, and later after a tenth of the time that it has waited.
   */
  #mayHaveMoved({ waiting, begunAt, lookedUpAt }: Delivery): boolean {
    const now = this.#options.clock();
    const isClosing = Object.values(waiting).some(({ code }) => code === 'draining');
    return isClosing && Math.abs(now - lookedUpAt) >= Math.max(FRESH_SECONDS, (now - begunAt) / 10);
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
      if (!problem || isOver(problem)) await Promise.all(this.#due(delivery).map(attempt));
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
    const code = problem instanceof Refused ? { code: problem.code } : {};
    delivery.waiting[inbox] = { tries: tries + 1, since, notBefore: since + pause, ...code };
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
    delivery.lookedUpAt = now;
    try {
      const card = await this.#options.cardOf(delivery.recipient, delivery.proof?.to);
      if (delivery.proof) Object.assign(delivery.proof, { keys: receiptKeysOf(card), sealed: card.sealed });
      const open = card.inboxes.filter((inbox) => !delivery.done.includes(inbox));
      delivery.waiting = Object.fromEntries(
        open.map((inbox) => [inbox, delivery.waiting[inbox] ?? { tries: 0, since: now, notBefore: now }]),
      );
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

/** There is no card any more. One that is too old, too new or damaged may be followed by a good one, as from a host's cache. */
function isOver(problem: InboxError): boolean {
  return problem instanceof BadCard && problem.isNone && !problem.isForNow;
}

function isNotAccepted({ problem }: { problem: Refused }): boolean {
  return problem.code === 'not_accepted';
}

/** From 0 up to 1, in steps of 2^-32. */
export function fraction(random: Random): number {
  const bytes = random(4);
  return new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0) / 2 ** 32;
}
