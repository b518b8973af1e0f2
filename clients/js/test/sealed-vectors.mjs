/** Makes tests/vectors/sealed-js.json: `node test/sealed-vectors.mjs > ../../tests/vectors/sealed-js.json`. */
import { createHash } from 'node:crypto';
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';

import { toBase64Url, toHex } from '../dist/bytes.js';
import { AppKey } from '../dist/keys.js';
import { idOfTicket, idsOf, seedOf, ticketOf } from '../dist/tickets.js';

const DESCRIPTION =
  'Tickets and sheets of sealed delivery (docs/protocol.md), made by the JavaScript client; the members are those of sealed.json.';
const SHEETS = [
  { origin: 'https://inbox.example:8443', week: 0, edition: 0 },
  { origin: 'https://xn--nxasmq6b.example', week: 3000, edition: 9007199254740991 },
  { origin: 'http://[::1]:8710', week: 2952, edition: 1796000001 },
];
const SIZES = [[0, 32], [2, 256], [31, 32], [32, 32], [33, 32], [200, 16], [5, 7]];
const NUMBERS = [0, 2, 30, 254];
const NAMES = ['dave', 'erin'];

const digest = (content) => createHash('sha256').update(content).digest();
const keyOf = (name) => new AppKey(new Uint8Array(digest(`sealed vectors of JavaScript: ${name}`)));
export const hashOf = (content) => toBase64Url(digest(content));

export function made() {
  const keys = Object.fromEntries(NAMES.map((name) => [name, keyOf(name)]));
  const pairs = [['dave', 'erin'], ['erin', 'dave'], ['dave', 'dave']];
  const privateOf = (name) => toHex(digest(`sealed vectors of JavaScript: ${name}`));
  return {
    description: DESCRIPTION,
    keys: Object.fromEntries(NAMES.map((name) => [name, { private: privateOf(name), public: keys[name].public.hex }])),
    pairs: pairs.flatMap(([sender, recipient]) => SHEETS.map((sheet) => pairOf(keys, sender, recipient, sheet))),
    sheets: SIZES.map(([count, per], at) => sheetOf(keys.erin, count, per, SHEETS[at % SHEETS.length])),
  };
}

function pairOf(keys, sender, recipient, sheet) {
  const seed = seedOf(keys[sender], keys[sender].public.hex, keys[recipient].public.hex, sheet);
  const tickets = NUMBERS.map((number) => [number, ticketOf(seed, number)]);
  const texts = (pairs) => Object.fromEntries(pairs.map(([number, bytes]) => [number, toBase64Url(bytes)]));
  return {
    ...{ sender, recipient, ...sheet, z: toBase64Url(keys[sender].sharedX(keys[recipient].public.compressed)) },
    ...{ seed: toBase64Url(seed), tickets: texts(tickets), ids: texts(tickets.map(([number, ticket]) => [number, idOfTicket(ticket)])) },
  };
}

function sheetOf(owner, count, per, sheet) {
  const contacts = Array.from({ length: count }, (_, number) => keyOf(`contact ${number}`).public.hex);
  const ids = idsOf(owner, contacts, sheet, per);
  const [first, last] = [ids.subarray(0, 16), ids.subarray(-16)].map(toBase64Url);
  return { owner: 'erin', contacts, per, ...sheet, count: ids.length / 16, first, last, sha256: hashOf(ids) };
}

if (argv[1] === fileURLToPath(import.meta.url)) console.log(JSON.stringify(made(), null, 1));
