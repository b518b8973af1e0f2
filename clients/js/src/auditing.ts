/** The audit: whether the own inboxes show everything that arrived, and the repair of what one of them does not show. */
import type { Acks } from './acks.js';
import type { Beginnings } from './beginnings.js';
import type { Checkpoint, Checkpoints } from './checkpoint.js';
import type { ContactEntry, ContactIndexes, ContactMail } from './contactindexes.js';
import type { Contacts } from './contacts.js';
import type { Random } from './ecies.js';
import { toBase64Url } from './bytes.js';
import { InboxError } from './errors.js';
import { findingOf } from './findings.js';
import type { Finding } from './findings.js';
import type { Inbox } from './inbox.js';
import { DAY_SECONDS, isLostWithCopy, judge } from './judging.js';
import type { Audited, Judged, Material, Shown } from './judging.js';
import { changesSince, changesSinceOldest, foundEntries, listedBefore, listOf, settleListed } from './listing.js';
import { isLogged } from './log.js';
import type { CheckedLog, LogAnswer } from './log.js';
import type { Entry } from './news.js';
import { isNoInbox } from './own.js';
import type { Own } from './own.js';
import type { State, Table } from './state.js';
import type { UnixTime } from './tokens.js';

export interface AuditReport {
  /** When, in seconds since 1970. */
  at: UnixTime;
  /** Everything is accounted for; something is missing or was rewritten; or something could not be checked, or is only in its sender's bucket. */
  verdict: 'accounted' | 'missing' | 'unchecked';
  findings: Finding[];
  /** How many entries of the logs were checked, and how many receipts that contacts keep. */
  entries: number;
  receipts: number;
  /** What an inbox does not show and a contact's own bucket has: `fetch` reads it. */
  fetched: Entry[];
  /** Contacts whose receipts could not be read, and why. */
  unread: { from: string; problem: InboxError }[];
}

export interface AuditOptions {
  own: Own;
  state: State;
  acks: Acks;
  contacts: Contacts;
  indexes: ContactIndexes;
  checkpoints: Checkpoints;
  beginnings: Beginnings;
  random: Random;
  address: string;
}

const BROKEN = /^(rewritten|rolled_back|base_moved|other_time)$/; // then the checkpoint stays where it is
const MOST_STORED = 100;
const TRIES = 3; // of a log whose base moves while it is read

/** What one inbox was found to be. */
interface Look {
  findings: Finding[];
  judged?: Judged;
  checkpoint?: Checkpoint;
}

export class Auditing {
  readonly #what: AuditOptions;

  constructor(what: AuditOptions) {
    this.#what = what;
  }

  /** The report of the last audit of this storage. */
  async last(): Promise<AuditReport | undefined> {
    return (await this.#what.state.read<AuditReport>('audit')).last;
  }

  /** Contacts' indexes first, then lists, then logs: so everything that was seen must be in what is read after it. */
  async run(): Promise<AuditReport> {
    const { own, contacts, indexes, state, checkpoints } = this.#what;
    const findings: Finding[] = [];
    await own.askTime();
    const before = await checkpoints.read().catch((problem: unknown) => problem as InboxError);
    const [points, fault] = before instanceof InboxError ? [{}, before] : [before.points, before.problem];
    const mail = await indexes.read(own.now());
    const looks = new Map<string, Look>();
    const isLast = before instanceof InboxError; // the next audit must not build on this one
    for (const { inbox, result, problem } of await own.eachSource((inbox) => this.#look(inbox, points[inbox.url], mail.entries, isLast))) {
      const gone = isNoInbox(problem) ? findingOf('no_inbox', inbox) : findingOf('unreachable', inbox, problem ? { text: problem.message } : {});
      looks.set(inbox, result ?? { findings: [gone] });
    }
    for (const look of looks.values()) findings.push(...look.findings);
    const changed: Table<Checkpoint> = {};
    for (const [inbox, { checkpoint }] of looks) if (checkpoint) changed[inbox] = checkpoint;
    if (fault) findings.push(findingOf('no_checkpoint', '', { text: fault.message }));
    if (!isLast) await checkpoints.write(changed, points).catch((problem: unknown) => this.#noCheckpoint(problem, findings));
    const report = await this.#report(findings, looks, mail);
    if (areWhole([...looks.values()]) && mail.problems.length === 0) await contacts.settleGaps();
    await state.change<AuditReport>('audit', (audit) => void (audit.last = withoutErrors(report)));
    return report;
  }

  /** Whether one is due: rarely, or as soon as a contact's number was left out. */
  async isDue(now: UnixTime, rarely: number, soon: number): Promise<boolean> {
    const { contacts, state } = this.#what;
    if (Object.keys(await state.read<string[]>('receipt_keys')).length === 0) return false; // no inbox here ever had a log
    const { at = 0 } = (await this.last()) ?? {};
    if (now < at || now - at >= rarely) return true;
    return now - at >= soon && contacts.haveGaps();
  }

  #noCheckpoint(problem: unknown, findings: Finding[]): void {
    if (!(problem instanceof InboxError)) throw problem;
    findings.push(findingOf('no_checkpoint', '', { text: problem.message }));
  }

  async #look(inbox: Inbox, shared: Checkpoint | undefined, entries: ContactEntry[], isLast: boolean): Promise<Look> {
    const { state } = this.#what;
    const { features = [] } = await inbox.capabilities({ fresh: true });
    if (!features.includes('log')) return { findings: [findingOf('no_log', inbox.url)] };
    const { cursor, swapped } = await listOf(inbox, state);
    const material = await this.#material(inbox, shared, { swapped, entries });
    let judged = judge(material);
    if (judged.findings.some(({ code }) => code === 'unlisted')) judged = judge({ ...material, shown: await this.#shown(inbox, material, judged.log) });
    const { log, findings } = judged;
    if (log.fault !== undefined || findings.some(({ code }) => BROKEN.test(code))) return { findings, judged };
    const { since = log.at, retention, answers } = material;
    if (!isLast) await this.#settle(material, log, cursor);
    return { findings, judged, checkpoint: { ...log.head, at: log.at, since, signed: answers.at(-1)?.page.signed ?? '', retention } };
  }

  /** From here on the log is protected by the checkpoint. */
  async #settle(material: Material, log: CheckedLog, cursor: string): Promise<void> {
    const { inbox, since = log.at, here, listed } = material;
    const audited: Audited = { n: log.head.n, at: log.at, here, cursor, since };
    await this.#what.state.change<Audited>('audited', (all) => void (all[inbox] = audited));
    await settleListed(this.#what.state, inbox, isLostWithCopy(log, material) ? new Map() : listed, log);
  }

  async #material(inbox: Inbox, shared: Checkpoint | undefined, seen: Pick<Material, 'swapped' | 'entries'>): Promise<Material> {
    const { own, acks, state, beginnings, address } = this.#what;
    const { limits, receipts } = await inbox.capabilities();
    const begun = await beginnings.of(inbox.url);
    const checkpoint = shared && shared.since >= begun ? shared : undefined; // else of an inbox before this one
    const since = checkpoint?.since ?? (begun || undefined);
    const noted = (await state.read<Audited>('audited'))[inbox.url];
    const audited = noted?.since === since ? noted : undefined;
    const answers = await this.#log(inbox);
    return {
      ...{ inbox: inbox.url, keys: await own.receiptKeys(inbox.url), offered: receipts?.key, address, answers, since, checkpoint, audited, ...seen },
      here: own.here(),
      listed: audited || !checkpoint ? await listedBefore(state, inbox.url) : new Map(), // else perhaps of another log
      read: await acks.read(),
      shown: audited ? { sinceAudit: await changesSince(inbox, audited.cursor) } : {},
      retention: Number(limits?.max_retention_seconds ?? 0),
      most: Number(limits?.log_entries ?? Number.POSITIVE_INFINITY),
    };
  }

  async #shown(inbox: Inbox, { shown, since = 0, retention }: Material, { at }: CheckedLog): Promise<Shown> {
    const oldest = await changesSinceOldest(inbox, this.#what.state);
    if (!oldest) return shown;
    const [isOld, isOurs] = [at - oldest.day * DAY_SECONDS > retention + 2 * DAY_SECONDS, (await this.#what.beginnings.of(inbox.url)) === since];
    const isFirst = oldest.day * DAY_SECONDS <= Math.max(since + 1, Math.floor(since / DAY_SECONDS) * DAY_SECONDS);
    return { ...shown, sinceOldest: oldest.shown, isAll: isOld || (isOurs && isFirst) };
  }

  /** All of it; anew when its base moves over the place where it was being read. */
  async #log(inbox: Inbox): Promise<LogAnswer[]> {
    for (let tries = 1; ; tries += 1) {
      const answers: LogAnswer[] = [];
      let [before, after]: (number | undefined)[] = [];
      do {
        const nonce = toBase64Url(this.#what.random(16));
        const page = await inbox.log(after, nonce);
        answers.push({ page, nonce });
        [before, after] = [after, page.entries.at(-1)?.n];
      } while (answers.at(-1)?.page.more && after !== undefined && after > (before ?? -1)); // a server may say so for ever
      const first = answers[0]?.page.base.n ?? 0;
      const hasMoved = answers.some(({ page }, at) => page.base.n > (at === 0 ? first : (answers[at - 1]?.page.entries.at(-1)?.n ?? first)));
      if (!hasMoved || tries === TRIES) return answers;
    }
  }

  async #report(findings: Finding[], byInbox: ReadonlyMap<string, Look>, mail: ContactMail): Promise<AuditReport> {
    const [at, looks] = [this.#what.own.now(), [...byInbox.values()]];
    const entries = mail.entries.filter((each) => !isOfLeft(each, byInbox));
    const logs = looks.flatMap(({ judged }) => (judged ? [judged.log] : []));
    const isAccused = findings.some(({ isAccusation }) => isAccusation);
    const fetched = foundEntries(missing(entries, findings, areWhole(looks) ? logs : undefined, at), await this.#what.acks.read(), at);
    return {
      at,
      verdict: isAccused ? 'missing' : findings.length + fetched.length + mail.problems.length > 0 ? 'unchecked' : 'accounted',
      findings,
      entries: logs.reduce((sum, { numbers }) => sum + numbers.size, 0),
      receipts: mail.entries.reduce((sum, { receipts }) => sum + Object.keys(receipts).length, 0),
      fetched,
      unread: mail.problems,
    };
  }
}

/**
 * Whether it was taken by inboxes alone that the owner has left: a move has carried it over, unless it was read, which this
 * device cannot know.
 */
function isOfLeft({ receipts }: ContactEntry, inboxes: ReadonlyMap<string, unknown>): boolean {
  const origins = Object.keys(receipts);
  return origins.length > 0 && !origins.some((origin) => inboxes.has(origin));
}

/** Whether the log of every inbox that is there was read. */
function areWhole(looks: Look[]): boolean {
  return looks.every(({ judged, findings: [first] }) => judged !== undefined || first?.code === 'no_inbox');
}

/** What an inbox hides; and, where all that are there have logs, also what lives for days and is in none of them. */
function missing(entries: ContactEntry[], findings: Finding[], logs: CheckedLog[] | undefined, now: UnixTime): ContactEntry[] {
  const hidden = new Set(findings.map(({ entry }) => entry));
  const isNowhere = ({ entry }: ContactEntry) => logs && !logs.some(({ numbers }) => numbers.has(entry));
  return entries.filter((each) => hidden.has(each.entry) || (isNowhere(each) && isLogged(endOf(each), now)));
}

/** While no server has answered, a sender's guess is not the end of a day. */
function endOf({ expires, receipts }: ContactEntry): UnixTime {
  if (Object.keys(receipts).length > 0) return expires;
  return Math.floor(expires / DAY_SECONDS) * DAY_SECONDS + DAY_SECONDS - 1;
}

/** As it is stored: without the evidence and with the first of many findings, for it has little room; and with words in place of errors. */
function withoutErrors(report: AuditReport): AuditReport {
  const findings = report.findings.slice(0, MOST_STORED).map(({ evidence: _, ...finding }) => finding);
  const unread = report.unread.map(({ from, problem }) => ({ from, problem: { name: problem.name, message: problem.message } as InboxError }));
  return { ...report, findings, fetched: report.fetched.slice(0, MOST_STORED), unread };
}
