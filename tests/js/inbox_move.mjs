/** Moves that meet something on their way, each by its name; what it comes to is asserted here. */
import assert from 'node:assert/strict';

import { Device, steps, texts } from './fragile.mjs';
import { answer, given } from './script.mjs';

const { scenario, from, to, now, alice: aliceOptions, bob: bobOptions } = given;
let ahead = 0;
const clock = () => now + ahead;
const alice = new Device(aliceOptions).start({ clock }).client;
const device = new Device(bobOptions);
const start = (more) => device.start({ clock, ...more });
const names = [bobOptions.name];

async function withMail(settings = {}) {
  const { client } = start();
  assert.equal((await client.move(from).next()).value.kind, 'claimed');
  await steps(client.move(from)); // which was cut off, and is repeated
  await client.claim({ names, ...settings });
  await client.unread();
  await alice.send(bobOptions.name, 'first');
  await alice.send(bobOptions.name, 'second');
  return client;
}

/** Until the move has done this; it is left there. */
async function moveUntil(client, kind) {
  for await (const step of client.move(to)) if (step.kind === kind) return;
}

const kinds = async (move) => (await steps(move)).map(({ kind }) => kind);

const scenarios = {
  async watched() {
    const client = await withMail();
    const told = [];
    let up = 0;
    for await (const news of client.watch()) {
      if (news.kind === 'up') up += 1;
      if (news.kind !== 'message') continue;
      told.push((await client.fetch(news.entry)).content);
      if (told.length === 2) {
        await moveUntil(client, 'published');
        await alice.send(bobOptions.name, 'while it moves');
      }
      if (told.length === 3) {
        assert.equal(up, 2, 'both are followed');
        await steps(client.move(to));
        await alice.send(bobOptions.name, 'after it');
      }
      if (told.length === 4) break;
    }
    assert.deepEqual(told.slice(2), ['while it moves', 'after it']);
  },

  async acknowledged_in_the_middle() {
    const client = await withMail();
    await moveUntil(client, 'carried');
    const { entries } = await client.unread();
    assert.equal(entries.length, 2);
    const reports = await client.acknowledge(entries.slice(0, 1));
    assert.deepEqual(reports.map(({ inbox, problem }) => [inbox, problem]), [[to, undefined], [from, undefined]]);
    assert.deepEqual(await client.unfinishedMove(), { from, to });
    await steps(start().client.move(to));
    assert.equal((await texts(client)).length, 1);
  },

  async read_while_the_old_server_was_down() {
    const client = await withMail();
    const [first] = (await client.unread()).entries;
    const down = (url, what) => (String(url).startsWith(from) ? Promise.reject(new TypeError()) : fetch(url, what));
    const [{ problem }] = await start({ fetch: down }).client.acknowledge([first]);
    assert.equal(problem.name, 'Unreachable');
    await steps(start().client.move(to));
    assert.equal((await texts(client)).length, 1);
  },

  async repeated_late() {
    const client = await withMail();
    const [first] = (await client.unread()).entries;
    await client.acknowledge([first]);
    await steps(client.move(to));
    assert.equal((await client.unread()).entries.length, 1);
    return { messageId: first.messageId };
  },

  async moved_by_another_device() {
    const client = await withMail();
    const other = new Device(bobOptions).start({ clock }).client;
    await other.claim({ names });
    await steps(other.move(to));
    assert.deepEqual(await texts(client), ['first', 'second']);
    assert.deepEqual(await kinds(client.move(to)), ['moved']);
  },

  async two_at_once() {
    const client = await withMail();
    await Promise.all([steps(client.move(to)), steps(start().client.move(to)).catch(() => undefined)]);
    await steps(start().client.move(to));
    assert.deepEqual(await texts(start().client), ['first', 'second']);
    assert.equal((await client.unread()).entries.length, 2);
  },

  async left_off() {
    const client = await withMail();
    await moveUntil(client, 'claimed');
    assert.deepEqual(await client.unfinishedMove(), { from, to });
    assert.deepEqual(await kinds(client.move(from)), ['moved']);
    assert.equal(await client.unfinishedMove(), undefined);
    await moveUntil(client, 'published');
    await assert.rejects(steps(client.move(from)), { name: 'CannotMove', message: /is not finished: repeat that first/ });
    await steps(client.move(to));
    assert.deepEqual(await texts(client), ['first', 'second']);
  },

  async to_what_is_none() {
    const client = await withMail();
    const before = (await client.settings())[0].result;
    await assert.rejects(steps(client.move('http://127.0.0.1:9')), { name: 'Unreachable' });
    await assert.rejects(steps(client.move(bobOptions.names[0])), { name: 'Unreachable', message: /does not answer as an inbox/ });
    await assert.rejects(steps(client.move('not an origin')), { name: 'TypeError' });
    await assert.rejects(steps(client.move(to, { from: 'http://127.0.0.1:9' })), { name: 'CannotMove' });
    assert.equal(await client.unfinishedMove(), undefined);
    assert.deepEqual((await client.settings())[0].result, before);
  },

  async whose_lists_are_not_known() {
    const client = await withMail({ blocked: [alice.address], accept: 'anyone' });
    const elsewhere = new Device(bobOptions).start({ clock }).client;
    await assert.rejects(steps(elsewhere.move(to)), { name: 'CannotMove', message: /has 1 blocked, and 0 are known here.*claim\(/ });
    assert.deepEqual((await steps(client.move(to))).at(-1).text, `The inbox is at ${to}.`);
    const [{ inbox, result }] = await client.settings();
    assert.deepEqual([inbox, result.blocked, result.accept], [to, 1, 'anyone']);
  },

  async that_waits_for_a_rate() {
    const client = await withMail();
    for (let number = 0; number < 10; number += 1) await alice.send(bobOptions.name, `message ${number}`);
    const sleep = async (milliseconds) => void (ahead += Math.ceil(milliseconds / 1000));
    let limited = 5;
    const limiting = (url, what) => {
      const isDelivery = String(url) === `${to}/v1/messages` && what.method === 'POST';
      if (!isDelivery || limited-- <= 0) return fetch(url, what);
      const headers = { 'Retry-After': '7', 'Content-Type': 'application/problem+json' };
      return new Response(JSON.stringify({ code: 'rate_limited', detail: 'Later.' }), { status: 429, headers });
    };
    const told = await steps(device.start({ clock, ticks: () => ahead, fetch: limiting, sleep }).client.move(to));
    assert.ok(told.some(({ text }) => text === `Waiting 7 s, as ${to} asks: Later.`));
    assert.ok(told.some(({ kind, carried }) => kind === 'carried' && carried === 12));
    assert.equal((await client.unread()).entries.length, 12);
  },

  async given_up_in_the_middle() {
    const client = await withMail();
    await moveUntil(client, 'published');
    assert.deepEqual((await client.forget()).map(({ inbox, problem }) => [inbox, problem]), [[to, undefined], [from, undefined]]);
    assert.equal(await client.unfinishedMove(), undefined);
  },
};

answer((await scenarios[scenario]()) ?? {});
