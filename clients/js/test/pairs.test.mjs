/** What two people share, and the index between them: tests/vectors/pairs.json. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { fromBase64Url, toBase64Url } from '../dist/bytes.js';
import { signEnvelope } from '../dist/ecies.js';
import { CannotDecrypt, NotAuthentic } from '../dist/errors.js';
import { makeIndex, mergeEntries, readIndex } from '../dist/indexfile.js';
import { AppKey } from '../dist/keys.js';
import { hashOfPointer, Pair } from '../dist/pairs.js';
import { encryptPointer, isOfPair, linkOf, pointerText, readMessageId } from '../dist/pointer.js';

const vectors = JSON.parse(readFileSync(new URL('../../../tests/vectors/pairs.json', import.meta.url), 'utf8'));
const [alice, bob] = [vectors.keys.alice, vectors.keys.bob].map((key) => AppKey.parse(key));
const random = (length) => crypto.getRandomValues(new Uint8Array(length));
const pairOf = ({ from }) => (from === alice.public.hex ? Pair.to(bob.public, alice) : Pair.to(alice.public, bob));

test('a pair derives the same on both sides', () => {
  for (const vector of vectors.pairs) {
    const [writer, reader] = vector.from === alice.public.hex ? [alice, bob] : [bob, alice];
    for (const pair of [Pair.to(reader.public, writer), Pair.from(writer.public, reader)]) {
      assert.equal(pair.indexPath(vector.week), vector.path);
      assert.equal(pair.indexKey(vector.week).public.hex, vector.ephemeral_public);
    }
  }
});

test('pointers follow from each other', () => {
  const pair = pairOf(vectors.pairs[0]);
  let prev = new Uint8Array(16);
  for (const { n, prev: stated, id, mac, plain } of vectors.pointers) {
    assert.equal(toBase64Url(prev), stated);
    const { from, app, url } = JSON.parse(plain);
    const pointer = { id, from, app, ...(url ? { url } : {}), link: linkOf(pair, n, prev, id) };
    assert.equal(pointer.link.mac, mac);
    assert.equal(pointerText(pointer), plain);
    const read = readMessageId(encryptPointer(plain, bob.public, random), bob);
    assert.deepEqual(read, pointer);
    assert.ok(isOfPair(read, Pair.from(alice.public, bob)));
    for (const changed of [{ n: n + 1 }, { prev: 'B'.repeat(21) + 'A' }, { mac: 'B'.repeat(21) + 'A' }]) {
      assert.ok(!isOfPair({ ...read, link: { ...read.link, ...changed } }, pair), JSON.stringify(changed));
    }
    assert.ok(!isOfPair({ ...read, id: 'f'.repeat(32) }, pair));
    prev = hashOfPointer(plain);
  }
});

test('a part of a link makes it no pointer', () => {
  const [{ plain }] = vectors.pointers;
  for (const wrong of [{ n: undefined }, { prev: undefined }, { mac: undefined }, { n: 0 }, { n: 1.5 }, { prev: 'AA' }, { mac: 7 }]) {
    const text = JSON.stringify({ ...JSON.parse(plain), ...wrong });
    assert.throws(() => readMessageId(encryptPointer(text, bob.public, random), bob), CannotDecrypt, JSON.stringify(wrong));
  }
});

test('an index is read by both, and by nobody else', () => {
  const { week, encrypted } = vectors.index;
  const pair = pairOf(vectors.pairs[0]);
  const content = signEnvelope(alice, encrypted);
  const entries = readIndex(content, Pair.from(alice.public, bob), week, bob);
  assert.deepEqual(readIndex(content, pair, week, alice), entries);
  assert.ok(entries.length > 0);
  const again = makeIndex(alice, pair, week, entries, () => Uint8Array.from({ length: 16 }, (_, at) => at));
  assert.equal(JSON.parse(again).cipherText, encrypted);
  assert.throws(() => readIndex(content, pair, week + 1, alice), /.+/);
  assert.throws(() => readIndex(content, pairOf(vectors.pairs[1]), week, bob), NotAuthentic);
});

test('of one delivery an index has every receipt and the longest life', () => {
  const receipt = (expires) => ({ token: 'a.b.c', salt: 'A'.repeat(22), path: Array(9).fill('A'.repeat(43)), expires });
  const entry = { n: 1, id: '0'.repeat(32), entry: 'A'.repeat(43) };
  const one = { ...entry, expires: 100, receipts: { 'https://a.example': receipt(100) } };
  const other = { ...entry, expires: 200, receipts: { 'https://b.example': receipt(200) } };
  const merged = mergeEntries([one], [other]);
  assert.deepEqual(merged, [{ ...entry, expires: 200, receipts: { ...one.receipts, ...other.receipts } }]);
  const again = { ...entry, n: 2, entry: 'B'.repeat(42) + 'A', expires: 100, receipts: {} }; // the same message, encrypted anew
  assert.deepEqual(mergeEntries(merged, [again]), [merged[0], again]);
  const pair = pairOf(vectors.pairs[0]);
  const [read] = readIndex(makeIndex(alice, pair, 7, merged, random), pair, 7, alice);
  assert.deepEqual(read, merged[0]);
  assert.deepEqual(toBase64Url(fromBase64Url(read.entry)), entry.entry);
});
