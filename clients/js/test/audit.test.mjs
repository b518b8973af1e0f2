/** Audits: every way in which a server could cheat is caught and named, and an honest one is never accused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { fromHex } from '../dist/bytes.js';
import { encrypt, signEnvelope } from '../dist/ecies.js';
import { MemoryStorage } from '../dist/index.js';
import { AppKey } from '../dist/keys.js';
import { verifyReceipt } from '../dist/receipts.js';
import { DAY, newKey, START, World } from './liar.mjs';

/** Alice, and Bob with an inbox; what Alice sends is in her bucket and in her index. */
async function settle() {
  const world = new World();
  const server = world.serve();
  const [aliceKey, bobKey] = [newKey(), newKey()];
  const [alice, bob] = [aliceKey, bobKey].map((key) => world.device(key));
  server.owner = bob.address;
  await bob.claim({ accept: 'anyone' }, { inboxes: [server.origin] });
  await bob.publish([server.origin]);
  const send = async (...texts) => {
    const reports = [];
    for (const text of texts) reports.push(await alice.send(bob.publicKey, text));
    return reports;
  };
  await send('met');
  await readAll(bob);
  return { world, server, alice, aliceKey, bob, bobKey, send };
}

async function readAll(device) {
  const { entries } = await device.unread();
  const texts = [];
  for (const entry of entries) texts.push((await device.fetch(entry)).content);
  await device.acknowledge(entries);
  return texts;
}

const codes = ({ findings }) => [...new Set(findings.map(({ code }) => code))].sort();

async function isCaught(audited, ...expected) {
  const report = await audited.audit();
  assert.equal(report.verdict, 'missing');
  assert.deepEqual(codes(report), expected.sort());
  for (const { text, isAccusation } of report.findings) assert.ok(isAccusation && /\w\.$/.test(text));
  return report;
}

async function isNotAccused(audited, verdict = 'accounted') {
  const report = await audited.audit();
  assert.deepEqual(report.findings.filter(({ isAccusation }) => isAccusation), []);
  assert.equal(report.verdict, verdict);
  return report;
}

/** What an audit that finds nothing wrong has found in contacts' buckets. */
async function found(device) {
  const report = await isNotAccused(device, 'unchecked');
  assert.deepEqual(codes(report), []);
  return Promise.all(report.fetched.map(async (entry) => (await device.fetch(entry)).content));
}

test('a send keeps its receipts in the index, and all is accounted for', async () => {
  const { bob, send } = await settle();
  const [report] = await send('kept');
  assert.ok(report.stored[0].signed);
  assert.deepEqual([report.stored[0].unsigned, report.index], [undefined, undefined]);
  const { entries, receipts } = await isNotAccused(bob);
  assert.deepEqual([entries, receipts], [2, 2]);
  assert.equal((await bob.lastAudit()).verdict, 'accounted');
});

const CHEATS = {
  'an entry that was listed is dropped': async ({ server, bob, send }) => {
    await send('seen');
    await bob.unread();
    drop(server, server.inbox.logged.at(-1));
    await isCaught(bob, 'not_in_log', 'receipt_without_entry');
  },
  'an entry that was audited is dropped': async ({ server, bob, send }) => {
    await send('one', 'two');
    await bob.audit();
    drop(server, server.inbox.logged[1]);
    await isCaught(bob, 'receipt_without_entry', 'rolled_back');
  },
  'a delivery is taken and never shown': async ({ server, bob, send }) => {
    server.keeps = () => false;
    const [{ stored }] = await send('hidden');
    server.keeps = () => true;
    const { findings, fetched } = await isCaught(bob, 'receipt_without_entry');
    assert.equal(findings[0].entry, stored[0].id);
    const { evidence } = findings[0];
    const taken = { inbox: evidence.inbox, key: evidence.key, address: evidence.address, ...evidence.entry };
    verifyReceipt(evidence.receipt, taken);
    assert.ok(!evidence.log.some(({ entries }) => entries.some(({ id }) => id === taken.id)));
    assert.equal((await bob.fetch(fetched[0])).content, 'hidden');
  },
  'entries change places': async ({ server, bob, send }) => {
    await send('one', 'two');
    await bob.audit();
    server.inbox.logged.reverse();
    await isCaught(bob, 'rewritten');
  },
  'an older state is shown': async ({ server, bob, send }) => {
    const before = server.copy();
    await send('one');
    await bob.audit();
    server.inbox = before;
    await isCaught(bob, 'receipt_without_entry', 'rolled_back');
  },
  'an older answer is shown': async ({ server, bob }) => {
    let old;
    server.tell = (answer) => (answer.log ? ((old ??= answer), old) : answer);
    await bob.audit();
    await isCaught(bob, 'replayed');
  },
  'another message is shown in the place of one': async ({ server, bob, send }) => {
    await bob.audit();
    await send('right');
    server.tell = ({ page, log }) => {
      for (const message of page?.messages ?? []) message.message_id += ' ';
      return { page, log };
    };
    const { fetched } = await isCaught(bob, 'swapped');
    assert.equal((await bob.fetch(fetched[0])).content, 'right');
  },
  'the base moves over what was not seen': async ({ server, bob, send }) => {
    await bob.audit();
    await send('one', 'two');
    server.forget(3);
    await isCaught(bob, 'base_moved', 'not_in_log', 'receipt_without_entry');
  },
  'an entry is logged and not listed': async ({ server, bob, send }) => {
    await bob.audit();
    await send('withheld');
    server.tell = ({ page, log }) => ({ log, page: page && { ...page, messages: [] } });
    const { fetched } = await isCaught(bob, 'withheld');
    assert.equal((await bob.fetch(fetched[0])).content, 'withheld');
  },
  'two devices are shown different logs': async ({ world, server, bob, bobKey, send }) => {
    const other = world.device(bobKey);
    await send('for both');
    const shown = server.copy();
    await send('for one');
    await bob.audit();
    server.inbox = shown;
    await send('for the other');
    await isCaught(other, 'rewritten');
  },
};

function drop(server, id) {
  server.inbox.logged = server.inbox.logged.filter((each) => each !== id);
  server.inbox.changes = server.inbox.changes.filter((each) => each.id !== id);
}

for (const [name, cheat] of Object.entries(CHEATS)) test(`caught: ${name}`, async () => cheat(await settle()));

const EXCUSES = {
  'the log is called full': async ({ server, bob, send }) => {
    await bob.audit();
    server.limits.log_entries = 1;
    await hide(server, send);
    return ['full'];
  },
  'it is signed for a later time': async ({ server, bob, send }) => {
    await bob.audit();
    await hide(server, send);
    server.signedAhead = 80 * DAY;
    return ['other_time'];
  },
  'the sender was told of a short life': async ({ server, bob, send }) => {
    await bob.audit();
    server.longest = 3600;
    await hide(server, send);
    server.longest = undefined;
    return [];
  },
  'the sender got no receipt': async ({ world, server, aliceKey, bob }) => {
    await bob.audit();
    server.features = ['log'];
    await hide(server, async (text) => {
      const [{ unsigned }] = (await world.device(aliceKey).send(bob.publicKey, text)).stored;
      assert.match(unsigned, /does not say now that it gives receipts/);
    });
    return [];
  },
};

async function hide(server, send) {
  server.keeps = () => false;
  await send('hidden');
  server.keeps = () => true;
}

for (const [name, excuse] of Object.entries(EXCUSES)) {
  test(`not accounted for: ${name}`, async () => {
    const settled = await settle();
    const expected = await excuse(settled);
    const report = await isNotAccused(settled.bob, 'unchecked');
    assert.deepEqual(codes(report), expected);
    assert.deepEqual(await Promise.all(report.fetched.map(async (entry) => (await settled.bob.fetch(entry)).content)), ['hidden']);
    settled.world.now += 2 * 3600;
    assert.equal((await settled.bob.audit()).fetched.length, 1); // also when the server says that it has expired
    if (expected.includes('other_time')) {
      settled.server.signedAhead = 0;
      await isCaught(settled.bob, 'receipt_without_entry'); // the checkpoint stayed where it was
    }
  });
}

const HONEST = {
  'nothing happened': async ({ bob }) => {
    for (let times = 0; times < 3; times += 1) await isNotAccused(bob);
  },
  'messages come and are read, on two devices': async ({ world, bob, bobKey, send }) => {
    const other = world.device(bobKey);
    for (const device of [bob, other, bob, other]) {
      await send('one', 'two');
      await readAll(device);
      await isNotAccused(bob);
      await send('three');
      await isNotAccused(other);
    }
  },
  'entries expire, and the log forgets them': async ({ world, server, bob, send }) => {
    await bob.audit();
    await send('one', 'two');
    await bob.unread();
    world.now += 31 * DAY;
    await isNotAccused(bob);
    await send('never seen');
    world.now += 31 * DAY;
    assert.deepEqual(codes(await isNotAccused(bob, 'unchecked')), ['unlisted']);
    await isNotAccused(bob);
    world.now += 91 * DAY;
    server.forget(3);
    await isNotAccused(bob);
  },
  'nobody audits for longer than the log is kept': async ({ world, server, bob, send }) => {
    await bob.audit();
    await send('one', 'two');
    world.now += 122 * DAY;
    server.forget(3);
    assert.deepEqual(codes(await isNotAccused(bob, 'unchecked')), ['away_too_long']);
    await isNotAccused(bob);
  },
  'a short life is not logged': async ({ alice, bob }) => {
    await alice.send(bob.publicKey, 'short', { ttlSeconds: 60 });
    await bob.unread();
    await isNotAccused(bob);
  },
  'a copy is put back, which the server says': async ({ world, server, bob, send }) => {
    await bob.audit();
    const before = server.copy();
    await send('lost');
    await bob.unread();
    await bob.audit();
    server.putBack(before);
    const report = await isNotAccused(bob, 'unchecked');
    assert.deepEqual(codes(report), ['restored']);
    assert.deepEqual(await Promise.all(report.fetched.map(async (entry) => (await bob.fetch(entry)).content)), ['lost']);
  },
  'the inbox is given up and claimed again': async ({ server, bob, send }) => {
    await send('given up');
    await bob.audit();
    await bob.forget();
    await bob.claim({ accept: 'anyone' }, { inboxes: [server.origin] });
    await bob.publish([server.origin]);
    assert.deepEqual(await found(bob), ['given up']); // it was never read, and its sender still has it
    await send('new');
    assert.deepEqual(await found(bob), ['given up']);
  },
  'another device gives the inbox up and claims it again': async ({ world, server, bob, bobKey, send }) => {
    await bob.audit();
    await send('seen, and given up');
    await bob.unread();
    const other = world.device(bobKey);
    await other.forget();
    await other.claim({ accept: 'anyone' }, { inboxes: [server.origin] });
    await other.publish([server.origin]);
    for (let times = 0; times < 2; times += 1) assert.deepEqual(await found(bob), ['seen, and given up']);
  },
  'the inbox moves to another server': async ({ world, server, bob, send }) => {
    await send('before');
    await bob.audit();
    const second = world.serve('https://second.test');
    second.owner = server.owner;
    for await (const _ of bob.move(second.origin));
    await send('after');
    await isNotAccused(bob);
    assert.deepEqual((await readAll(bob)).sort(), ['after', 'before']);
  },
  'the server has neither log nor receipts': async ({ world, server, bobKey }) => {
    server.features = [];
    const [again, carol] = [world.device(bobKey), world.device(newKey())];
    await again.publish([server.origin]);
    const { stored } = await carol.send(again.publicKey, 'plain');
    assert.deepEqual([stored[0].signed, stored[0].unsigned], [undefined, undefined]);
    assert.deepEqual(await readAll(again), ['plain']);
    assert.deepEqual(codes(await isNotAccused(again, 'unchecked')), ['no_log']);
  },
  'the server cannot be reached': async ({ world, server, bob }) => {
    world.down.add(server.origin);
    assert.deepEqual(codes(await isNotAccused(bob, 'unchecked')), ['unreachable']);
  },
  'the server has another secret': async ({ server, bob }) => {
    await bob.audit();
    server.key = new World().serve().key;
    assert.deepEqual(codes(await isNotAccused(bob, 'unchecked')), ['other_key']);
    await bob.publish([server.origin]);
    await isNotAccused(bob);
  },
};

for (const [name, story] of Object.entries(HONEST)) test(`not accused: ${name}`, async () => story(await settle()));

for (const ahead of [-20 * DAY, -3600, 3600, 20 * DAY]) {
  test(`not accused: a device whose clock is ${ahead} seconds ahead`, async () => {
    const { world, bobKey, send } = await settle();
    const wrong = world.device(bobKey, { ahead });
    await send('one');
    await wrong.unread();
    const isFar = Math.abs(ahead) > 7200;
    assert.deepEqual(codes(await isNotAccused(wrong, isFar ? 'unchecked' : 'accounted')), isFar ? ['other_time'] : []);
  });
}

test('a receipt that proves nothing is told, and the message counts', async () => {
  const { server, send } = await settle();
  server.owner = 'somebody else';
  const [{ stored, index }] = await send('taken');
  assert.equal(stored[0].signed, undefined);
  assert.match(stored[0].unsigned, /for another delivery/);
  assert.equal(index, undefined);
});

test('without any server, what contacts sent is found in their buckets', async () => {
  const { world, server, alice, bob } = await settle();
  world.down.add(server.origin);
  const report = await alice.send(bob.publicKey, 'without a server');
  assert.deepEqual([report.stored, report.waiting.length], [[], 1]);
  const { entries, withoutServer } = await bob.unread();
  assert.equal(withoutServer, true);
  assert.deepEqual(await Promise.all(entries.map(async (entry) => (await bob.fetch(entry)).content)), ['without a server']);
  await bob.acknowledge(entries);
  assert.deepEqual((await bob.unread()).entries, []);
  world.down.clear();
  world.now += 3600;
  assert.equal((await alice.retry())[0].stored.length, 1);
  assert.deepEqual((await bob.unread()).entries, []);
  await isNotAccused(bob);
});

test('what could not be written into the index is written by the next send', async () => {
  const { world, server, alice, bob, send } = await settle();
  const put = world.files.set.bind(world.files);
  world.files.set = (path, file) => {
    if (path.includes('/index/')) throw new TypeError('fetch failed');
    return put(path, file);
  };
  const [report] = await send('one');
  assert.equal(report.stored.length, 1);
  assert.equal(report.index.name, 'Unreachable');
  world.files.set = put;
  await alice.retry();
  drop(server, server.inbox.logged.at(-1));
  await isCaught(bob, 'receipt_without_entry');
});

test('two devices of a sender write one index', async () => {
  const { world, server, bob } = await settle();
  const key = newKey();
  const [one, other] = [world.device(key), world.device(key)];
  for (const device of [one, other, one, other]) assert.equal((await device.send(bob.publicKey, 'hello')).index, undefined);
  assert.equal((await readAll(bob)).length, 4);
  const { receipts } = await isNotAccused(bob);
  assert.equal(receipts, 5);
  drop(server, server.inbox.logged.at(-1));
  await isCaught(bob, 'receipt_without_entry', 'rolled_back');
});

test('two tabs share their storage, and number their messages one after the other', async () => {
  const { world, bob } = await settle();
  const [key, storage] = [newKey(), new MemoryStorage()];
  const tabs = [world.device(key, { storage }), world.device(key, { storage })];
  const reports = await Promise.all([...tabs, ...tabs].map((tab) => tab.send(bob.publicKey, 'hello')));
  assert.deepEqual(reports.map(({ index }) => index), [undefined, undefined, undefined, undefined]);
  const numbers = Object.values(JSON.parse(storage.getItem(`message-inbox:${tabs[0].address}:pairs`))).map(({ n }) => n);
  assert.deepEqual(numbers, [4]);
  await readAll(bob);
  assert.equal((await isNotAccused(bob)).receipts, 5);
});

test('somebody on the list of contacts is looked for without having been met', async () => {
  const { world, server, bob } = await settle();
  const carol = world.device(newKey());
  await carol.publish([server.origin]);
  await bob.claim({ contacts: [carol.address] });
  server.keeps = () => false;
  await carol.send(bob.publicKey, 'hidden');
  const { fetched } = await isCaught(bob, 'receipt_without_entry');
  assert.equal((await bob.fetch(fetched[0])).content, 'hidden');
});

test('notes to oneself have receipts and an index, too', async () => {
  const { bob } = await settle();
  const { stored, index } = await bob.send(bob.publicKey, 'buy bread');
  assert.deepEqual([Boolean(stored[0].signed), index], [true, undefined]);
  assert.deepEqual(await readAll(bob), ['buy bread']);
  assert.equal((await isNotAccused(bob)).receipts, 2);
});

test('a device that lost everything goes on with its index', async () => {
  const { world, bob } = await settle();
  const key = newKey();
  for (let times = 0; times < 3; times += 1) {
    const report = await world.device(key).send(bob.publicKey, `hello ${times}`);
    assert.equal(report.index, undefined);
  }
  await readAll(bob);
  assert.equal((await isNotAccused(bob)).receipts, 4);
});

test('a damaged checkpoint is told once, and written anew', async () => {
  for (const content of ['', '{', '[]', '{"v":1}', signEnvelope(new AppKey(fromHex(newKey())), '{}')]) {
    const { world, bob } = await settle();
    await isNotAccused(bob);
    world.files.set(`${bob.address}/checkpoint.json`, { content, etag: 'damaged' });
    assert.deepEqual(codes(await isNotAccused(bob, 'unchecked')), ['no_checkpoint']);
    assert.deepEqual(codes(await isNotAccused(bob)), []);
  }
});

test('a checkpoint of a later version is left as it is', async () => {
  const { world, bob, bobKey } = await settle();
  await isNotAccused(bob);
  const key = new AppKey(fromHex(bobKey));
  const later = { content: signEnvelope(key, encrypt(key.public, '{"v":2}', (size) => crypto.getRandomValues(new Uint8Array(size)), 'base64')), etag: 'later' };
  world.files.set(`${bob.address}/checkpoint.json`, later);
  const { findings } = await isNotAccused(bob, 'unchecked');
  assert.match(findings[0].text, /later version: update this client/);
  assert.equal(world.files.get(`${bob.address}/checkpoint.json`), later);
});

test('an inbox is not deleted while its checkpoint stays', async () => {
  const { world, server, bob } = await settle();
  await isNotAccused(bob);
  world.files.set = (path, file) => {
    if (path.endsWith('/checkpoint.json')) throw new TypeError('fetch failed');
    return Map.prototype.set.call(world.files, path, file);
  };
  const [{ problem }] = await bob.forget();
  assert.deepEqual([problem.name, server.inbox !== undefined], ['Unreachable', true]);
  delete world.files.set;
  await bob.forget();
  assert.equal(server.inbox, undefined);
});

/** The first news of each kind, in this order, while the device's clock goes on. */
async function hear(world, device, ...kinds) {
  const heard = [];
  for await (const news of device.watch()) {
    world.ticks += 100;
    if (news.kind === kinds[heard.length]) heard.push(news);
    if (heard.length === kinds.length) break;
  }
  return heard;
}

test('a watch audits by itself, and brings what was hidden', async () => {
  const { world, server, bob, send } = await settle();
  server.keeps = () => false;
  await send('hidden');
  const [, { report }, { entry }] = await hear(world, bob, 'up', 'audit', 'message');
  assert.deepEqual(codes(report), ['receipt_without_entry']);
  assert.equal((await bob.fetch(entry)).content, 'hidden');
});

test('a watch says that a server does not show its log any more', async () => {
  const { world, server, bob } = await settle();
  await bob.audit();
  server.features = ['receipts'];
  world.now += 2 * DAY;
  const [, { report }] = await hear(world, bob, 'up', 'audit');
  assert.deepEqual(codes(report), ['no_log']);
});

test('an inbox that its operator lost is said, and what was unread there is found', async () => {
  const { server, bob, send } = await settle();
  await bob.audit();
  await send('never shown');
  server.inbox = undefined;
  const report = await isNotAccused(bob, 'unchecked');
  assert.deepEqual(codes(report), ['no_inbox']);
  assert.deepEqual(await Promise.all(report.fetched.map(async (entry) => (await bob.fetch(entry)).content)), ['never shown']);
});

test('a watch that reaches no inbox says so, and looks into contacts\' buckets', async () => {
  const { world, server, alice, bob } = await settle();
  world.down.add(server.origin);
  await alice.send(bob.publicKey, 'without a server');
  const [, , { entry }] = await hear(world, bob, 'down', 'without_server', 'message');
  assert.deepEqual([entry.inboxes, entry.messageId], [[], '']);
  assert.equal((await bob.fetch(entry)).content, 'without a server');
});

test('what older versions stored is read', async () => {
  const { world, server, alice, aliceKey, bob } = await settle();
  const storage = new MemoryStorage();
  const prefix = `message-inbox:${alice.address}:`;
  const old = { id: 'a'.repeat(32), recipient: bob.publicKey, body: '{"message_id":"old"}', begunAt: START, lookedUpAt: START, done: [] };
  const waiting = { [server.origin]: { tries: 1, since: START, notBefore: START } };
  storage.setItem(`${prefix}outbox`, JSON.stringify({ [old.id]: { ...old, waiting } }));
  storage.setItem(`${prefix}own`, JSON.stringify({ inboxes: [server.origin] }));
  const [{ stored }] = await world.device(aliceKey, { storage }).retry();
  assert.deepEqual([stored.length, stored[0].signed], [1, undefined]);
});

test('what was lost with a copy that was put back is not held against the server at a later audit', async () => {
  const { world, server, bob, send } = await settle();
  await bob.audit();
  const copy = server.copy();
  await send('lost');
  await bob.unread();
  server.putBack(copy);
  for (let days = 1; days <= 3; days += 1) {
    world.now += DAY;
    assert.deepEqual(codes(await isNotAccused(bob, 'unchecked')), ['restored']); // as the sender's receipt shows
  }
});

test('an audit that could not read the checkpoint keeps what the next one needs', async () => {
  const { world, server, bob, send } = await settle();
  await bob.audit();
  await send('listed');
  await bob.unread();
  world.down.add('https://read.test');
  await isNotAccused(bob, 'unchecked');
  world.down.delete('https://read.test');
  drop(server, server.inbox.logged.at(-1));
  await isCaught(bob, 'not_in_log', 'receipt_without_entry');
});
