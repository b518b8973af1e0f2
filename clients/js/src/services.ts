/**
 * Name services: who owns a name, and which zone file the owner set. They are trusted for that.
 *
 * The shape is the Stacks API's `GET /v1/names/{name}`; the older core.blockstack.org differs only in what it leaves out.
 */
import { ownerHash } from './addresses.js';
import { toHex } from './bytes.js';
import { Absent, NotProven, Unreachable } from './errors.js';
import { getText } from './requests.js';
import type { Fetch } from './requests.js';
import { parseObject } from './tokens.js';

export interface NameRecord {
  /** An address, c32 or base58. */
  owner: string;
  zoneFile: string;
}

const MAX_ANSWER_BYTES = 64 * 1024; // the zone file of a namespace's operator holds its subdomains' records
const REVOKED: ReadonlySet<unknown> = new Set(['revoked', 'name-revoke']);
const NO_SUCH_NAME = new Set([400, 404]); // older services say 400 to a name that cannot be

/**
 * Several services as one: the next is asked when one fails, or, with `agreement`, all are asked and must name one
 * owner. A service that says there is no such name has answered. Throws `NotProven` or `Unreachable`.
 */
export async function lookUpName(
  fetch: Fetch,
  services: readonly string[],
  agreement: boolean,
  name: string,
): Promise<NameRecord> {
  if (services.length === 0) throw new NotProven('No name service is configured: use an app public key.');
  const record = await (agreement ? askAll(fetch, services, name) : askFirst(fetch, services, name));
  if (!record) throw new NotProven('The name service knows no such name.', { isForNow: true });
  return record;
}

async function askFirst(fetch: Fetch, services: readonly string[], name: string): Promise<NameRecord | undefined> {
  let failure: unknown;
  for (const service of services) {
    try {
      return await ask(fetch, service, name);
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}

async function askAll(fetch: Fetch, services: readonly string[], name: string): Promise<NameRecord | undefined> {
  const records = await Promise.all(services.map((service) => ask(fetch, service, name)));
  if (new Set(records.map(sameOwner)).size > 1) throw new Unreachable('The name services do not agree on the owner.');
  return records[0];
}

async function ask(fetch: Fetch, service: string, name: string): Promise<NameRecord | undefined> {
  try {
    // An unknown subdomain is redirected to its registrar.
    const where = `${service}/v1/names/${name}`;
    const text = await getText(fetch, where, { maxBytes: MAX_ANSWER_BYTES, absent: NO_SUCH_NAME });
    return readRecord(text);
  } catch (error) {
    if (error instanceof Absent) return undefined;
    if (error instanceof Unreachable) throw error;
    throw new Unreachable('A name service answered with what is not a record of a name.', { cause: error });
  }
}

function readRecord(text: string): NameRecord {
  const { address, status, zonefile, zonefile_txt } = parseObject(text);
  if (typeof address !== 'string') throw new TypeError('has no owner');
  const [zoneFile = ''] = [zonefile, zonefile_txt].filter((each) => typeof each === 'string');
  return { owner: address, zoneFile: REVOKED.has(status) ? '' : zoneFile };
}

/** Equal for equal owners, in whichever of their two forms a service writes an address. */
function sameOwner(record: NameRecord | undefined): string {
  try {
    return record ? toHex(ownerHash(record.owner)) : '';
  } catch {
    return record?.owner ?? '';
  }
}
