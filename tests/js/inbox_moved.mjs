/** A page that stays open while another device moves its user elsewhere: whom it asks before and after. */
import * as client from '../../clients/js/dist/index.js';
import { answer, given } from './script.mjs';

const { options, now, inboxes, settings } = given;
const [page, other] = [0, 1].map(() => new client.InboxClient({ ...options, clock: () => now }));
const asked = async () => (await page.settings()).map(({ inbox, problem }) => problem ?? inbox);

const before = await asked();
await other.forget();
await other.claim(settings, { inboxes });
await other.publish(inboxes);
answer({ before, after: await asked() });
