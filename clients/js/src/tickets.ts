/** Tickets for sealed delivery: what a sender and a recipient derive alike, and an owner's sheets. No I/O. See docs/protocol.md, "Tickets". */
import { hkdf } from '@noble/hashes/hkdf.js';
import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';

import { be64, concat, toHex, toUtf8 } from './bytes.js';
import type { AppKey } from './keys.js';

export const SHEET_WEEKS = 5; // this one and the next four: an owner may be away that long
export const MOST_IDS = 4096;
export const MOST_PER = 256;
export const USUAL_PER = 32;
const LEAST_IDS = 1024; // so that a few contacts look like thirty
const ID_BYTES = 16;
const ID_LABEL = toUtf8('message-inbox-ticket-id');

/** The claim on an inbox card: how many tickets each contact has in a week at each inbox, and for which set of contacts. */
export interface Sealed {
  per: number;
  edition: number;
}

/** Which sheet: one inbox server's, for one week, in one edition of the owner's contacts. */
export interface SheetName {
  origin: string;
  week: number;
  edition: number;
}

/** The seed of a sender's tickets on a sheet. Both are keys in hex; `own` is the key of one of the two. 32 bytes. */
export function seedOf(own: AppKey, sender: string, recipient: string, sheet: SheetName): Uint8Array {
  const shared = own.sharedWith(own.public.hex === sender ? recipient : sender);
  return hkdf(sha256, shared, undefined, linesOf('message-inbox-ticket', sheet, sender, recipient), 32);
}

/** The ticket of this number, from 0: 32 bytes. */
export function ticketOf(seed: Uint8Array, number: number): Uint8Array {
  return hmac(sha256, seed, be64(number));
}

/** What the server gets of a ticket before it is used: 16 bytes. */
export function idOfTicket(ticket: Uint8Array): Uint8Array {
  return sha256(concat(ID_LABEL, ticket)).subarray(0, ID_BYTES);
}

/**
 * The sheet as its owner sends it: the ids of all contacts (keys in hex) and of dummies, sorted and joined. The same
 * arguments give the same bytes. Throws `RangeError` for more ids than a sheet has, and `NotAKey`.
 */
export function idsOf(owner: AppKey, contacts: readonly string[], sheet: SheetName, per: number): Uint8Array {
  const known = [...new Set(contacts)];
  if (known.length * per > MOST_IDS) {
    throw new RangeError(`${known.length} contacts with ${per} tickets each: a sheet has at most ${MOST_IDS}.`);
  }
  const ids = known.flatMap((hex) => idsFrom(seedOf(owner, hex, owner.public.hex, sheet), per));
  const dummies = owner.derive(linesOf('message-inbox-ticket-dummies', sheet, owner.public.hex));
  ids.push(...idsFrom(dummies, sizeFor(ids.length) - ids.length));
  const sorted = ids.map((id) => ({ id, hex: toHex(id) })).sort((one, other) => (one.hex < other.hex ? -1 : 1));
  return concat(...sorted.map(({ id }) => id));
}

/** As many tickets for each as a sheet has room for, halved, so that the card does not show how many contacts there are. */
export function perFor(contacts: number): number {
  let per = USUAL_PER;
  while (per > 1 && contacts * per > MOST_IDS) per /= 2;
  return per;
}

/** As `idOfTicket` and `ticketOf`, in half the time: what all have in common is hashed once. */
function idsFrom(seed: Uint8Array, count: number): Uint8Array[] {
  const [tickets, ids] = [hmac.create(sha256, seed), sha256.create().update(ID_LABEL)];
  const [nextTicket, nextId] = [tickets.clone(), ids.clone()];
  return Array.from({ length: count }, (_, number) => {
    const ticket = tickets._cloneInto(nextTicket).update(be64(number)).digest();
    return ids._cloneInto(nextId).update(ticket).digest().subarray(0, ID_BYTES);
  });
}

function sizeFor(count: number): number {
  let size = LEAST_IDS;
  while (size < count) size *= 2;
  return size;
}

function linesOf(label: string, { origin, week, edition }: SheetName, ...keys: string[]): Uint8Array {
  return toUtf8([label, ...keys, origin, week, edition].join('\n'));
}
