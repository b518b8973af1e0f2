/** A page that stays open while another device moves its user elsewhere: whom it asks before and after. */
import * as client from '../../clients/js/dist/index.js';
import { answer, given } from './script.mjs';

const { options, now, inboxes, settings } = given;
const [page, other] = [0, 1].map(() => new client.InboxClient({ ...options, clock: () => now }));
const up = [];
const watching = new AbortController();
const follow = async () => {
  for await (const { kind, inbox } of page.watch({ signal: watching.signal })) {
    if (kind === 'up') up.push(inbox);
  }
};
const ups = async (count) => {
  while (up.length < count) await new Promise((resolve) => setImmediate(resolve));
};
const asked = async () => (await page.settings()).map(({ inbox, problem }) => problem ?? inbox);

const before = await asked();
const followed = follow();
await ups(1);
await other.forget();
await other.claim(settings, { inboxes });
await other.publish(inboxes);
const after = await asked();
await ups(2);
watching.abort();
await followed;
answer({ before, after, up });
