/** `watch` of the client in clients/js: a line of JSON for each piece of news, until it is killed or `most` have come. */
import { InboxClient, MemoryStorage } from '../../clients/js/dist/index.js';
import { given } from './script.mjs';

const { options, now, stored = {}, resume = false, reads = false, most = Infinity } = given;
const storage = new MemoryStorage();
for (const [key, value] of Object.entries(stored)) storage.setItem(key, value);
const sleep = (_, signal) => new Promise((resolve) => setTimeout(resolve, signal.aborted ? 0 : 20));
const client = new InboxClient({ ...options, storage, sleep, clock: () => now });
let told = 0;
for await (const news of client.watch({ resume })) {
  if (news.kind === 'message' && reads) {
    news.content = (await client.fetch(news.entry)).content;
    await client.acknowledge([news.entry]);
  }
  console.log(JSON.stringify({ ...news, problem: news.problem?.message }));
  if (++told === most) break;
}
const prefix = `message-inbox:${client.address}:`;
console.log(JSON.stringify({ kind: 'left', stored: { [`${prefix}cursors`]: storage.getItem(`${prefix}cursors`) } }));
