/** Before the first step: key.json and the signed card into the bucket, and the inbox claimed for the name. */
import { AppUser } from './client.mjs';
import { answer, given } from './script.mjs';

const bob = new AppUser(given.user);
await bob.publish([given.inbox], 1);
answer({ settings: await bob.claim(given.inbox, { names: [bob.name] }) });
