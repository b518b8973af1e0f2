/** An audit of unread entries, each with a contact's receipt, where nothing is missing: how long it takes, in Node or a browser. */
import { toBase64Url, toHex } from '../../clients/js/dist/bytes.js';
import { makeIndex } from '../../clients/js/dist/indexfile.js';
import { AppKey } from '../../clients/js/dist/keys.js';
import { idOf } from '../../clients/js/dist/pages.js';
import { Pair, weekOf } from '../../clients/js/dist/pairs.js';
import { newKey, START, World } from '../../clients/js/test/liar.mjs';

const WEEKS = 4; // before this one: as many files
const MESSAGE_ID_BYTES = 612; // 816 characters
const random = (length) => crypto.getRandomValues(new Uint8Array(length));
const text = (length) => toBase64Url(random(length));

/** Seconds that an audit takes, of what `fill` has made. */
export async function audit({ bob, count }) {
  const begun = performance.now();
  const { verdict, entries, receipts } = await bob.audit();
  const seconds = (performance.now() - begun) / 1000;
  if (verdict !== 'accounted' || entries !== count + 1 || receipts !== count + 1) throw new Error(`${verdict} ${entries} ${receipts}`);
  return seconds;
}

export async function fill(count) {
  const world = new World();
  const server = world.serve();
  const [aliceKey, bobKey] = [newKey(), newKey()];
  const [alice, bob] = [aliceKey, bobKey].map((key) => world.device(key));
  server.owner = bob.address;
  await bob.claim({}, { inboxes: [server.origin] });
  await bob.publish([server.origin]);
  const { stored } = await alice.send(bob.publicKey, 'met');
  await bob.fetch((await bob.unread()).entries[0]);
  const [{ signed, expires }] = stored;
  const entries = Array.from({ length: count }, (_, at) => {
    const message_id = text(MESSAGE_ID_BYTES);
    const id = idOf(message_id);
    server.inbox.changes.push({ id, message_id, expires });
    server.inbox.logged.push(id);
    server.inbox.lives[id] = { expires, at: START };
    const receipt = { token: signed.token, salt: text(16), path: signed.path.map(() => text(32)), expires };
    return { n: at + 2, id: toHex(random(16)), entry: id, expires, receipts: { [server.origin]: receipt } };
  });
  const key = AppKey.parse(aliceKey);
  const pair = Pair.to(AppKey.parse(bobKey).public, key);
  for (let before = 1; before <= WEEKS; before += 1) {
    const part = entries.slice(((before - 1) * count) / WEEKS, (before * count) / WEEKS);
    const week = weekOf(START) - before;
    world.files.set(`${alice.address}/${pair.indexPath(week)}`, { content: makeIndex(key, pair, week, part, random), etag: text(16) });
  }
  return { bob, count };
}
