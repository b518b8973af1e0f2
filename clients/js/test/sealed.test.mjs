/** Tickets and sheets, against the vectors that Python made, and those that were made here (which Python checks). */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';

import { toBase64Url } from '../dist/bytes.js';
import { AppKey } from '../dist/keys.js';
import { idOfTicket, idsOf, perFor, seedOf, ticketOf } from '../dist/tickets.js';
import { hashOf, made } from './sealed-vectors.mjs';

const folder = new URL('../../../tests/vectors/', import.meta.url);
const names = readdirSync(folder).filter((name) => /^sealed.*\.json$/.test(name));
const sets = names.map((name) => ({ name, ...JSON.parse(readFileSync(new URL(name, folder), 'utf8')) }));

test('the file of vectors that JavaScript makes is made again', () => {
  assert.equal(`${JSON.stringify(made(), null, 1)}\n`, readFileSync(new URL('sealed-js.json', folder), 'utf8'));
});

for (const { name, keys, pairs, sheets } of sets) {
  const keyOf = (who) => AppKey.parse(keys[who].private);

  test(`both sides derive what ${name} says`, () => {
    assert.ok(pairs.length > 3);
    for (const { sender, recipient, z, seed, tickets, ids, ...sheet } of pairs) {
      const [from, to] = [keyOf(sender), keyOf(recipient)];
      for (const own of [from, to]) {
        const derived = seedOf(own, from.public.hex, to.public.hex, sheet);
        assert.equal(toBase64Url(own.sharedX((own === from ? to : from).public.compressed)), z);
        assert.equal(toBase64Url(derived), seed);
        for (const [number, ticket] of Object.entries(tickets)) {
          assert.equal(toBase64Url(ticketOf(derived, Number(number))), ticket);
          assert.equal(toBase64Url(idOfTicket(ticketOf(derived, Number(number)))), ids[number]);
        }
      }
    }
  });

  test(`a sheet is what ${name} says, in whatever order the contacts are`, () => {
    assert.ok(sheets.length > 3);
    for (const { owner, contacts, per, count, first, last, sha256, ...sheet } of sheets) {
      const ids = idsOf(keyOf(owner), [...contacts, ...contacts.slice(0, 2)].reverse(), sheet, per);
      assert.equal(ids.length, count * 16);
      assert.deepEqual([ids.subarray(0, 16), ids.subarray(-16)].map(toBase64Url), [first, last]);
      assert.equal(hashOf(ids), sha256);
    }
  });
}

test('many contacts get fewer tickets each, and a sheet never grows above its limit', () => {
  assert.deepEqual([0, 1, 128, 129, 256, 257, 1000, 4096].map(perFor), [32, 32, 32, 16, 16, 8, 4, 1]);
  const { keys, sheets } = sets.find(({ name }) => name === 'sealed.json');
  const { contacts, origin, week, edition } = sheets.find(({ count }) => count === 4096);
  const more = [...contacts, keys.alice.public];
  assert.throws(() => idsOf(AppKey.parse(keys.bob.private), more, { origin, week, edition }, 32), /129 contacts with 32 tickets/);
});
