/**
 * An honest server is never accused, whatever happens to it and to the clients: generated histories of two servers, an owner
 * with two devices, and a sender. HISTORIES=500 tries so many, and SEED=7 begins with that one.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { DAY, newKey, World } from './liar.mjs';

const [HISTORIES, SEED] = [process.env.HISTORIES ?? 2, process.env.SEED ?? 1].map(Number);
const STEPS = 14;
const LIVES = [undefined, undefined, 30, 3600, DAY, 2 * DAY, 5 * DAY, 40 * DAY, 400 * DAY];
const PAUSES = [1, 3600, 11 * 3600, DAY, DAY, 2 * DAY, 5 * DAY, 20 * DAY, 40 * DAY, 100 * DAY];
const CLOCKS = [-400 * DAY, -DAY, -3600, 0, 0, 90, DAY, 100 * DAY];

/** Numbers from 0 up to 1 that are the same for the same seed. */
function chances(seed) {
  let state = seed * 0x9e3779b9;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

async function live(seed) {
  const [chance, told, world] = [chances(seed), [], new World()];
  const one = (choices) => choices[Math.floor(chance() * choices.length)];
  const servers = ['https://one.test', 'https://two.test'].map((origin) => world.serve(origin));
  const [aliceKey, bobKey] = [newKey(), newKey()];
  const alice = world.device(aliceKey);
  const devices = [world.device(bobKey), world.device(bobKey)];
  const copies = new Map();
  for (const server of servers) server.owner = devices[0].address;
  await devices[0].claim({ accept: 'anyone' }, { inboxes: servers.map(({ origin }) => origin) });
  await devices[0].publish(servers.map(({ origin }) => origin));

  const audit = async (device) => {
    for (const server of servers) server.sweep();
    world.ahead.set(device, one(CLOCKS));
    const { verdict, findings } = await device.audit();
    world.ahead.delete(device);
    told.push(`device ${devices.indexOf(device)}: ${verdict} ${[...new Set(findings.map(({ code }) => code))]}`);
    assert.deepEqual(findings.filter(({ isAccusation }) => isAccusation), [], `seed ${seed}: ${told.join('; ')}`);
  };
  const steps = {
    send: async () => {
      const ttlSeconds = one(LIVES);
      told.push(`to live ${ttlSeconds}`);
      for (let times = 1 + Math.floor(chance() * 3); times > 0; times -= 1) await alice.send(devices[0].publicKey, 'hello', ttlSeconds ? { ttlSeconds } : {});
    },
    audit: () => audit(one(devices)),
    read: async () => {
      const device = one(devices);
      for (const entry of (await device.unread()).entries) await device.fetch(entry);
    },
    acknowledge: async () => {
      const device = one(devices);
      const { entries } = await device.unread();
      await device.acknowledge(entries.slice(0, Math.floor(chance() * (entries.length + 1))));
    },
    wait: async () => {
      const seconds = one(PAUSES);
      told.push(`${seconds}`);
      world.now += seconds;
      world.ticks += seconds;
    },
    goOrCome: async () => {
      const { origin } = one(servers);
      if (!world.down.delete(origin)) world.down.add(origin);
    },
    copy: async () => {
      const server = one(servers);
      if (server.inbox) copies.set(server, server.copy());
    },
    putBack: async () => {
      const server = one(servers);
      if (copies.has(server) && server.inbox) server.putBack(copies.get(server));
    },
    retry: () => alice.retry(),
    publish: () => one(devices).publish(servers.map(({ origin }) => origin)),
    claimAnew: async () => {
      const device = one(devices);
      await device.forget();
      copies.clear();
      await device.claim({ accept: 'anyone' }, { inboxes: servers.map(({ origin }) => origin) });
      await device.publish(servers.map(({ origin }) => origin));
    },
  };
  const weights = { send: 8, audit: 6, read: 4, acknowledge: 4, wait: 7, goOrCome: 2, copy: 2, putBack: 2, retry: 2, publish: 1, claimAnew: 1 };
  const names = Object.entries(weights).flatMap(([name, weight]) => Array(weight).fill(name));
  for (let step = 0; step < STEPS; step += 1) {
    const name = one(names);
    told.push(name);
    await steps[name]().catch((error) => {
      if (error instanceof assert.AssertionError || !('isForNow' in error)) throw error;
    });
  }
  world.down.clear();
  for (const device of devices) await audit(device);
}

for (let seed = SEED; seed < SEED + HISTORIES; seed += 1) test(`history ${seed}`, () => live(seed));
