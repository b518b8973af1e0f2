/** What a `watch` does beside listening: repeats what waits, audits now and then, and looks elsewhere while no inbox answers. */
import type { Auditing } from './auditing.js';
import { InboxError } from './errors.js';
import type { Handoff } from './handoff.js';
import type { Merging } from './merging.js';
import type { Missed } from './missed.js';
import type { News } from './news.js';
import { fraction } from './outbox.js';
import type { Settled } from './options.js';
import type { Own } from './own.js';
import { weekOf } from './pairs.js';
import type { Reading } from './reading.js';
import type { Sheets } from './sheets.js';

const ROUND_SECONDS = 30;
const LOOK_ROUNDS = 10; // between two looks at contacts' buckets
const SETTLED_SECONDS = 60; // first the app has what it was opened for
const AUDIT_SECONDS = 86_400;
const GAP_SECONDS = 3600; // after an audit, when a contact's numbers have a gap
const RENEW_SECONDS = 86_400;
const LOOK_SECONDS = 3600; // between two looks at which sheets are there
const FAILED_SECONDS = 300;
const ONCE = new Set(['unreachable', 'no_log', 'no_checkpoint']); // not worth a word each day
const NEVER = new Set(['unlisted']); // usual with several devices

export interface TendingOptions {
  own: Own;
  options: Settled;
  auditing: Auditing;
  reading: Reading;
  sheets: Sheets;
  missed: Missed;
  merging: Merging;
  news: Handoff<News>;
  /** What waits is repeated, and changes by other pages are seen. */
  retry: () => Promise<void>;
}

export class Tending {
  readonly #what: TendingOptions;
  /** Whether each inbox is listened to. */
  readonly #ups = new Map<string, boolean>();
  /** When and in which week sheets are looked at again, and whether all are sent then. */
  #sealAgain = { at: 0, week: 0, sendAll: false };
  #renewAt = 0;
  #notSealedUntil = 0;
  #notSealedWhy = '';
  /** What the last audit found that is told once. */
  #told = new Set<string>();
  /** Rounds since the last inbox was lost. */
  #alone = 0;

  constructor(what: TendingOptions) {
    this.#what = what;
  }

  hear(news: News): void {
    if (news.kind === 'up' || news.kind === 'down') this.#ups.set(news.inbox, news.kind === 'up');
    if (news.kind === 'left') this.#ups.delete(news.inbox);
    if (news.kind === 'read') this.#what.missed.forget([news.id]);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { options, retry, missed, own, news } = this.#what;
    const begun = options.ticks();
    while (!signal.aborted) {
      await retry();
      for (const entry of missed.due(own.now())) await news.give({ kind: 'message', entry, isAgain: true });
      await this.#lookElsewhere();
      await this.#renew();
      await this.#reseal();
      if (options.ticks() - begun >= SETTLED_SECONDS) await this.#audit(signal);
      await options.sleep(ROUND_SECONDS * 1000, signal);
    }
  }

  /** A server lost the place in its list: it may have been restored, with older sheets. */
  lost(): void {
    this.#sealAgain = { at: 0, week: 0, sendAll: true };
  }

  /** Once a day, see that the card does not end. */
  async #renew(): Promise<void> {
    const { own, options, news } = this.#what;
    if (options.ticks() < this.#renewAt || ![...this.#ups.values()].includes(true)) return;
    try {
      this.#renewAt = options.ticks() + RENEW_SECONDS;
      const published = await own.renew();
      if (published) await news.give({ kind: 'renewed', seq: published.seq });
    } catch (error) {
      if (!(error instanceof InboxError)) throw error;
      this.#renewAt = options.ticks() + FAILED_SECONDS;
    }
  }

  /** See that the inboxes have tickets for this week and the next ones, and that those who are new or blocked are known. */
  async #reseal(): Promise<void> {
    const { own, options, sheets, news } = this.#what;
    if (!options.sealed || ![...this.#ups.values()].includes(true)) return;
    const [now, ticks] = [own.now(), options.ticks()];
    const { at, week, sendAll } = this.#sealAgain;
    const isDue = await sheets.isDue(now);
    if (!isDue && ticks < at && weekOf(now) === week) return;
    if (isDue && ticks < this.#notSealedUntil) return;
    this.#sealAgain = { at: ticks + LOOK_SECONDS, week: weekOf(now), sendAll: false };
    try {
      await own.reseal(sendAll);
    } catch (error) {
      if (!(error instanceof InboxError)) throw error;
      this.#notSealedUntil = ticks + FAILED_SECONDS;
      this.#sealAgain = { at: this.#notSealedUntil, week: weekOf(now), sendAll };
    }
    const { problem } = sheets;
    if (problem && problem.message !== this.#notSealedWhy) await news.give({ kind: 'sheets', problem });
    this.#notSealedWhy = problem?.message ?? '';
  }

  async #lookElsewhere(): Promise<void> {
    const { reading, merging, news } = this.#what;
    const ups = [...this.#ups.values()];
    if (ups.length === 0 || ups.includes(true)) {
      this.#alone = 0;
      return;
    }
    const isFirst = this.#alone === 0;
    const entries = this.#alone % LOOK_ROUNDS === 0 ? await reading.withoutServer() : undefined;
    this.#alone += 1;
    if (entries && isFirst) await news.give({ kind: 'without_server' });
    for (const each of merging.found(entries ?? [])) await news.give(each);
  }

  /** At times that differ, so that not everybody comes at once. */
  async #audit(signal: AbortSignal): Promise<void> {
    const { own, options, auditing, merging, news } = this.#what;
    if (![...this.#ups.values()].includes(true)) return;
    const rarely = AUDIT_SECONDS * (0.75 + 0.5 * fraction(options.random));
    if (!(await auditing.isDue(own.now(), rarely, GAP_SECONDS)) || signal.aborted) return;
    const report = await auditing.run();
    // Of inboxes that are not listened to, it was said already that they cannot be reached.
    const findings = report.findings.filter(({ code, inbox }) => code !== 'unreachable' || this.#ups.get(inbox));
    const [before, once] = [this.#told, findings.filter(({ code }) => ONCE.has(code)).map(({ code, inbox }) => `${code} ${inbox}`)];
    this.#told = new Set(once);
    const isWorthTelling = report.fetched.length > 0 || findings.some(({ code }) => !ONCE.has(code) && !NEVER.has(code));
    if (isWorthTelling || once.some((each) => !before.has(each))) await news.give({ kind: 'audit', report });
    for (const each of merging.found(report.fetched)) await news.give(each);
  }
}
