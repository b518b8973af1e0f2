/** Steps 4 and 5: list, decrypt, fetch and verify, acknowledge. */
import { AppUser } from './client.mjs';
import { answer, given } from './script.mjs';

const bob = new AppUser(given.user);
const { messages } = await bob.unread(given.inbox);
const read = [];
for (const entry of messages) {
  const pointer = await bob.readPointer(entry.message_id);
  read.push({ pointer, text: await bob.fetchMessage(pointer), characters: entry.message_id.length });
}
await bob.acknowledge(given.inbox, messages.map((entry) => entry.id));
answer({ read, left: (await bob.unread(given.inbox)).messages });
