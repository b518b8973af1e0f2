/** Receipts, logs, pointers and indexes: tests/vectors/trust.json and pairs.json, which every implementation shares. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';

import { fromBase64Url, toBase64Url } from '../dist/bytes.js';
import { Unreachable } from '../dist/errors.js';
import { checkLog, isLogged, nextHead, readLogPage } from '../dist/log.js';
import { BadReceipt, leafOf, nodeOf, verifyReceipt } from '../dist/receipts.js';

const read = (name) => JSON.parse(readFileSync(new URL(`../../../tests/vectors/${name}.json`, import.meta.url), 'utf8'));
const trust = read('trust');
const { origin: inbox, receipt_key: key, owner } = trust;

describe('receipts', () => {
  test('nodes do not depend on the order', () => {
    for (const { one, other, node } of trust.nodes) {
      const [left, right] = [one, other].map(fromBase64Url);
      assert.deepEqual([nodeOf(left, right), nodeOf(right, left)].map(toBase64Url), [node, node]);
    }
  });

  for (const [at, each] of trust.receipts.entries()) {
    test(`${at}: ${each.why ?? (each.good ? 'good' : 'bad')}`, () => {
      const { address, id, expires, receipt, day } = each;
      const verify = () => verifyReceipt(receipt, { inbox, key, address, id, expires });
      if (!each.good) return assert.throws(verify, BadReceipt);
      assert.equal(toBase64Url(leafOf(fromBase64Url(receipt.salt), each)), each.leaf);
      assert.equal(verify(), day);
      assert.throws(() => verifyReceipt(receipt, { inbox, key: trust.other_key, address, id, expires }), BadReceipt);
      return assert.throws(() => verifyReceipt(receipt, { inbox, key, address, id, expires: expires + 86_400 }), BadReceipt);
    });
  }

  test('what has not the form of one is bad', () => {
    const [{ address, id, expires, receipt }] = trust.receipts;
    const wrong = [undefined, null, 7, {}, { ...receipt, salt: 'AA' }, { ...receipt, path: receipt.path.slice(1) }, { ...receipt, token: 'a.b' }];
    for (const each of wrong) assert.throws(() => verifyReceipt(each, { inbox, key, address, id, expires }), BadReceipt);
  });
});

describe('logs', () => {
  test('heads follow from each other', () => {
    for (const { head, n, id, next } of trust.heads) {
      assert.equal(toBase64Url(nextHead(fromBase64Url(head), n, fromBase64Url(id))), next);
    }
    for (const { base, entries, head } of trust.folds) {
      assert.equal(entries.every(({ n }, at) => n === base.n + at + 1), head !== null);
      if (!head) continue; // the numbers have a gap
      const folded = entries.reduce((before, { n, id }) => nextHead(before, n, fromBase64Url(id)), fromBase64Url(base.head));
      assert.equal(toBase64Url(folded), head.head);
    }
  });

  for (const { what, good, nonce, answer } of trust.logs) {
    test(what, () => {
      const check = () => checkLog([{ page: readLogPage(answer), nonce }], { inbox, keys: [key], address: owner.address }).fault;
      if (good) assert.equal(check(), undefined);
      else assert.match(check(), /^(other_key|replayed|rewritten)$/);
    });
  }

  test('what is no log is no answer of the protocol', () => {
    const { answer } = trust.logs[0];
    const wrong = [{}, { ...answer, base: null }, { ...answer, more: 1 }, { ...answer, entries: [{ n: 1, id: '?' }] }, { ...answer, signed: 7 }];
    for (const each of wrong) assert.throws(() => readLogPage(each), Unreachable);
  });

  test('what is logged', () => {
    for (const { now, expires, logged } of trust.logged) assert.equal(isLogged(expires, now), logged, `${now} ${expires}`);
  });
});
