/** What the log of one inbox shows when it is held against what was seen and against contacts' receipts. No I/O. */
import type { Checkpoint } from './checkpoint.js';
import type { ContactEntry } from './contactindexes.js';
import { evidenceOf, findingOf } from './findings.js';
import type { Code, Finding } from './findings.js';
import type { KeptReceipt } from './indexfile.js';
import { checkLog, isLogged } from './log.js';
import type { CheckedLog, LogAnswer, LogFault } from './log.js';
import { BadReceipt, verifyReceipt } from './receipts.js';
import type { UnixTime } from './tokens.js';

export const DAY_SECONDS = 86_400;
const CLOCK_SECONDS = 2 * 3600; // a clock that was not put back for the winter is an hour wrong

/** What this device noted at its last audit of an inbox. */
export interface Audited {
  n: number;
  /** By the server's clock, and by this device's. */
  at: UnixTime;
  here: UnixTime;
  /** From here on it is asked what arrived and what was read since. */
  cursor: string;
  /** Which log that was: `since` of its checkpoint. */
  since: UnixTime;
}

/** What an inbox showed to this device after its log was read: unread or read. */
export interface Shown {
  /** Since the last audit; undefined where the server no longer knows. */
  sinceAudit?: ReadonlySet<string> | undefined;
  /** Since the oldest cursor that this device has, and whether nothing older can matter. Asked only where there are suspects. */
  sinceOldest?: ReadonlySet<string>;
  isAll?: boolean;
}

export interface Material {
  /** The server's origin. */
  inbox: string;
  /** The server's receipt keys that the own card has named, newest first. */
  keys: readonly string[];
  /** The one that it says it has now. */
  offered: string | undefined;
  /** The owner's app address. */
  address: string;
  answers: readonly LogAnswer[];
  /** When this log began for its owner; undefined at the first audit. */
  since: UnixTime | undefined;
  checkpoint: Checkpoint | undefined;
  /** Of the same log. */
  audited: Audited | undefined;
  /** By this device's clock. */
  here: UnixTime;
  /** What the inbox listed since the last audit, and until when it must be in the log. */
  listed: ReadonlyMap<string, UnixTime>;
  /** Ids under which the inbox lists another message's text. */
  swapped: readonly string[];
  /** What was read here. */
  read: ReadonlySet<string>;
  shown: Shown;
  /** What contacts' indexes have. */
  entries: readonly ContactEntry[];
  /** How long the server keeps its log, in seconds, and how many entries of it at most. */
  retention: number;
  most: number;
}

export interface Judged {
  log: CheckedLog;
  findings: Finding[];
}

/** It accuses only of what an honest server never does. */
export function judge(material: Material): Judged {
  const { inbox, keys, address, answers, checkpoint } = material;
  const log = checkLog(answers, { inbox, keys, address }, checkpoint ? [checkpoint.n] : []);
  if (log.fault) return { log, findings: [findingOf(faultOf(log.fault, material), inbox)].map((found) => witnessed(found, material)) };
  const swapped = material.swapped.map((entry) => findingOf('swapped', inbox, { entry }));
  const missing = [...missingFromLog(log, material), ...missingByReceipt(log, material)];
  const gone = missing.length > 0 && isFull(log, material.most) ? [findingOf('full', inbox)] : missing;
  const held = [...gone, ...withheld(log, material), ...wrongTime(log, material)];
  return { log, findings: [...offPath(log, material), ...swapped, ...held].map((found) => witnessed(found, material)) };
}

/** A signature by no key of the own card accuses, unless the server says that it has a new key. */
function faultOf(fault: LogFault, { keys, offered }: Material): Code {
  return fault === 'other_key' && offered !== undefined && keys.includes(offered) ? 'rewritten' : fault;
}

/** With the whole log, and the server's own word for the earlier head. */
function witnessed(found: Finding, material: Material): Finding {
  if (!found.isAccusation || found.evidence) return found;
  const { keys, checkpoint } = material;
  const before = checkpoint?.signed ? { before: checkpoint.signed } : {};
  return { ...found, evidence: evidenceOf(material, keys[0] ?? '', before, found.text) };
}

/** Whether the log goes on from the checkpoint. */
function offPath(log: CheckedLog, material: Material): Finding[] {
  const { inbox, checkpoint } = material;
  if (!checkpoint || log.heads.get(checkpoint.n) === checkpoint.head) return [];
  return [findingOf(pathFault(log, checkpoint, material), inbox)];
}

function pathFault(log: CheckedLog, { n, at, retention: before }: Checkpoint, { retention, most }: Material): Code {
  if (isRestoredSince(log, at)) return 'restored';
  if (log.at - at >= Math.min(retention, before ?? retention)) return 'away_too_long'; // so long that it may have forgotten a copy that was put back
  if (n > log.head.n) return 'rolled_back';
  if (n >= log.base.n) return 'rewritten';
  return isFull(log, most) ? 'full' : 'base_moved';
}

/** What was listed and is not in the log, as the protocol says that it must. */
function missingFromLog(log: CheckedLog, material: Material): Finding[] {
  const [{ inbox, listed }, isLost] = [material, isLostWithCopy(log, material)];
  const gone = [...listed].filter(([id, until]) => until > log.at && !log.numbers.has(id));
  return gone.map(([entry]) => findingOf(isLost ? 'restored' : 'not_in_log', inbox, { entry }));
}

/** Whether what was listed since the last audit may be lost because the operator has put a copy back since. */
export function isLostWithCopy(log: CheckedLog, { audited }: Pick<Material, 'audited'>): boolean {
  return audited ? isRestoredSince(log, audited.at) : log.restored !== undefined;
}

/** What a contact has a receipt for and the log does not have. Only what is missing has its signature checked. */
function missingByReceipt(log: CheckedLog, material: Material): Finding[] {
  const { inbox, entries, since = log.at } = material;
  const found: Finding[] = [];
  for (const entry of entries) {
    const kept = entry.receipts[inbox];
    if (!kept || kept.expires <= log.at || log.numbers.has(entry.entry)) continue;
    const { expires, ...receipt } = kept;
    const proof = proven(kept, entry, material);
    if (!proof || !isLogged(expires, proof.day * DAY_SECONDS)) continue;
    if (proof.day * DAY_SECONDS <= since) continue; // perhaps of a log before this one: receipts have only days
    const isLost = log.restored !== undefined && proof.day <= log.restored;
    const { entry: id, from } = entry;
    const lacking = findingOf(isLost ? 'restored' : 'receipt_without_entry', inbox, { entry: id, from });
    const evidence = evidenceOf(material, proof.key, { entry: { id, expires }, receipt }, lacking.text);
    found.push(isLost ? lacking : { ...lacking, evidence });
  }
  return found;
}

/** Logged since the last audit and shown neither as unread nor as read, although it cannot have expired or been read. */
function withheld(log: CheckedLog, material: Material): Finding[] {
  const { inbox, shown, entries } = material;
  const suspects = suspectsOf(log, material).filter((id) => !shown.sinceOldest?.has(id));
  if (suspects.length === 0) return [];
  const sent = new Map(entries.map((entry) => [entry.entry, entry]));
  const isAlive = (id: string) => {
    const [entry, kept] = [sent.get(id), sent.get(id)?.receipts[inbox]];
    if (entry && kept && proven(kept, entry, material)) return kept.expires > log.at;
    return isWithinADay(log, material);
  };
  const isSure = shown.isAll === true && shown.sinceAudit !== undefined;
  const hidden = suspects.filter((id) => isSure && isAlive(id));
  const unsure = suspects.length - hidden.length;
  const found = hidden.map((entry) => findingOf('withheld', inbox, { entry }));
  return unsure > 0 ? [...found, findingOf('unlisted', inbox)] : found;
}

/** One that is logged again, because its life is longer now, may have been read before the last audit. */
function suspectsOf(log: CheckedLog, { audited, shown, read, listed, swapped }: Material): string[] {
  if (!audited || isRestoredSince(log, audited.at)) return [];
  const isSeen = (id: string) => shown.sinceAudit?.has(id) || read.has(id) || listed.has(id) || swapped.includes(id);
  return [...log.numbers].filter(([id, n]) => n > audited.n && !isSeen(id)).map(([id]) => id);
}

/** What was logged since the last audit lives for a day at least. Both clocks must say so: either may be wrong. */
function isWithinADay({ at }: CheckedLog, { audited, here }: Material): boolean {
  const passed = audited ? [at - audited.at, here - audited.here] : [];
  return passed.length > 0 && passed.every((seconds) => seconds >= 0 && seconds < DAY_SECONDS);
}

/** The operator says to have put a copy back on that day or later: what came before it may be lost. */
function isRestoredSince({ restored }: CheckedLog, time: UnixTime): boolean {
  return restored !== undefined && restored >= Math.floor(time / DAY_SECONDS);
}

/** Else a server could let everything expire. */
function wrongTime({ at }: CheckedLog, { inbox, here }: Material): Finding[] {
  return Math.abs(at - here) > CLOCK_SECONDS ? [findingOf('other_time', inbox)] : [];
}

/** Then the oldest entries may go before their time. */
function isFull({ base, head }: CheckedLog, most: number): boolean {
  return head.n - base.n >= most;
}

/** By a key that the own card never named it proves nothing. */
function proven({ expires, ...receipt }: KeptReceipt, { entry: id }: ContactEntry, { inbox, address, keys }: Material) {
  for (const key of keys) {
    try {
      return { key, day: verifyReceipt(receipt, { inbox, key, address, id, expires }) };
    } catch (error) {
      if (!(error instanceof BadReceipt)) throw error;
    }
  }
  return undefined;
}
