/**
 * Deliveries that were begun and not yet answered by every inbox of their recipient. The exact body is kept, so that a
 * repeat is the same delivery: encrypting anew would make another entry.
 */
import type { Random } from './ecies.js';
import { BadCard, InboxError, Refused, Unreachable } from './errors.js';
import type { Receipt } from './inbox.js';
import type { State } from './state.js';
import type { UnixTime } from './tokens.js';

const LOOK_AGAIN_SECONDS = 86_400;
const FIRST_PAUSE_SECONDS = 30;
const LONGEST_PAUSE_SECONDS = 3600;
const LONGEST_WAIT_SECONDS = 86_400; // no server's limit lasts longer

export interface Delivery {
  /** The message's ID, which is its file's name in the sender's bucket. */
  id: string;
  recipient: string;
  body: string;
  lookedUpAt: UnixTime;
  /** Inboxes that have not answered yet, how often each was tried, and when it may be tried again. */
  waiting: Record<string, { tries: number; notBefore: UnixTime }>;
  /** Inboxes that stored it or refused it. */
  done: string[];
}

/** What became of a message, inbox by inbox. It is safe with the recipient's server when `stored` has one or more. */
export interface SendReport {
  id: string;
  recipient: string;
  stored: (Receipt & { inbox: string })[];
  /**
   * Not reachable, or not for now, or not accepted while the recipient's card, which may name another inbox, cannot be
   * read: kept and tried again by `retry` and `watch`.
   */
  waiting: { inbox: string; problem: InboxError; notBefore: UnixTime }[];
  /** For good. */
  refused: { inbox: string; problem: Refused }[];
}

export interface OutboxOptions {
  state: State;
  clock: () => UnixTime;
  random: Random;
  deliver: (inbox: string, body: string, recipient: string) => Promise<Receipt>;
  /** What the recipient's card says now. */
  inboxesOf: (recipient: string) => Promise<string[]>;
}

export class Outbox {
  readonly #options: OutboxOptions;

  constructor(options: OutboxOptions) {
    this.#options = options;
  }

  /** Keep it first, then deliver it. */
  async send(id: string, recipient: string, body: string, inboxes: readonly string[]): Promise<SendReport> {
    const now = this.#options.clock();
    const waiting = Object.fromEntries(inboxes.map((inbox) => [inbox, { tries: 0, notBefore: now }]));
    const delivery: Delivery = { id, recipient, body, lookedUpAt: now, waiting, done: [] };
    await this.#keep(delivery);
    return this.#deliver(delivery);
  }

  /** What waits, whether it is due or not. */
  async waiting(): Promise<Delivery[]> {
    return Object.values(await this.#options.state.read<Delivery>('outbox'));
  }

  /** Try again what is due; a report for each delivery that was tried. */
  async retry(): Promise<SendReport[]> {
    const reports: SendReport[] = [];
    for (const delivery of await this.waiting()) {
      if (this.#due(delivery).length === 0) continue;
      if (Math.abs(this.#options.clock() - delivery.lookedUpAt) >= LOOK_AGAIN_SECONDS) await this.#lookAgain(delivery);
      reports.push(await this.#deliver(delivery));
    }
    return reports;
  }

  async #deliver(delivery: Delivery): Promise<SendReport> {
    const report: SendReport = { id: delivery.id, recipient: delivery.recipient, stored: [], waiting: [], refused: [] };
    const attempt = (inbox: string) => this.#attempt(delivery, inbox, report);
    await Promise.all(this.#due(delivery).map(attempt));
    if (report.refused.some(isNotAccepted)) {
      // The recipient may have moved, so it is not final before the card says so.
      if (await this.#lookAgain(delivery)) await Promise.all(this.#due(delivery).map(attempt));
      else this.#reopen(delivery, report);
    }
    await this.#keep(delivery);
    return report;
  }

  /** What is to wait for more than a day was noted by a clock that was ahead and has been set right. */
  #due(delivery: Delivery): string[] {
    const now = this.#options.clock();
    const isDue = (notBefore: UnixTime) => notBefore <= now || notBefore > now + LONGEST_WAIT_SECONDS;
    return Object.entries(delivery.waiting).flatMap(([inbox, { notBefore }]) => (isDue(notBefore) ? [inbox] : []));
  }

  async #attempt(delivery: Delivery, inbox: string, report: SendReport): Promise<void> {
    try {
      const receipt = await this.#options.deliver(inbox, delivery.body, delivery.recipient);
      report.stored.push({ inbox, ...receipt });
    } catch (problem) {
      if (problem instanceof Unreachable || (problem instanceof Refused && problem.isForNow)) {
        const notBefore = this.#pause(delivery, inbox, problem);
        report.waiting.push({ inbox, problem, notBefore });
        return;
      }
      if (!(problem instanceof Refused)) throw problem;
      report.refused.push({ inbox, problem });
    }
    delete delivery.waiting[inbox];
    delivery.done.push(inbox);
  }

  /** Longer each time and at random below that, so that senders do not come back all at once; or as the server says. */
  #pause(delivery: Delivery, inbox: string, problem: Unreachable | Refused): UnixTime {
    const tries = delivery.waiting[inbox]?.tries ?? 0;
    const most = Math.min(FIRST_PAUSE_SECONDS * 2 ** Math.min(tries, 10), LONGEST_PAUSE_SECONDS);
    const wished = problem instanceof Refused ? problem.retryAfterSeconds : undefined;
    const pause = Math.min(Math.ceil(wished ?? fraction(this.#options.random) * most), LONGEST_WAIT_SECONDS);
    const notBefore = this.#options.clock() + pause;
    delivery.waiting[inbox] = { tries: tries + 1, notBefore };
    return notBefore;
  }

  #reopen(delivery: Delivery, report: SendReport): void {
    for (const { inbox, problem } of report.refused.filter(isNotAccepted)) {
      delivery.done = delivery.done.filter((each) => each !== inbox);
      report.waiting.push({ inbox, problem, notBefore: this.#pause(delivery, inbox, problem) });
    }
    report.refused = report.refused.filter((each) => !isNotAccepted(each));
  }

  /**
   * Follow the recipient's card: inboxes that left it are given up, and new ones are delivered to. False when it could
   * not be read, and what was known of the recipient stays.
   */
  async #lookAgain(delivery: Delivery): Promise<boolean> {
    const now = this.#options.clock();
    try {
      const inboxes = await this.#options.inboxesOf(delivery.recipient);
      const open = inboxes.filter((inbox) => !delivery.done.includes(inbox));
      delivery.waiting = Object.fromEntries(
        open.map((inbox) => [inbox, delivery.waiting[inbox] ?? { tries: 0, notBefore: now }]),
      );
      delivery.lookedUpAt = now;
      return true;
    } catch (error) {
      if (!(error instanceof InboxError)) throw error;
      return error instanceof BadCard && error.isNone;
    }
  }

  #keep(delivery: Delivery): Promise<void> {
    return this.#options.state.change<Delivery>('outbox', (kept) => {
      if (Object.keys(delivery.waiting).length > 0) kept[delivery.id] = delivery;
      else delete kept[delivery.id];
    });
  }
}

function isNotAccepted({ problem }: { problem: Refused }): boolean {
  return problem.code === 'not_accepted';
}

/** From 0 up to 1, in steps of 2^-32. */
export function fraction(random: Random): number {
  const bytes = random(4);
  return new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0) / 2 ** 32;
}
