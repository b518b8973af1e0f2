/** `count` requests of each owner scope, each with its own token. */
import { AppUser, digestOf } from './client.mjs';
import { answer, given } from './script.mjs';

const bob = new AppUser(given.user);
const REQUESTS = {
  read: (number) => ({ method: 'GET', path: '/v1/messages', seconds: 3600 - number }),
  ack: (number) => ({ method: 'POST', path: '/v1/messages/ack', asked: { ids: [digestOf(`opaque ${number}`)] } }),
  settings: (number) => ({ method: 'PUT', path: '/v1/inbox', asked: { retention: 86_400 + number } }),
};

const asked = [];
for (const [scope, request] of Object.entries(REQUESTS)) {
  for (let number = 0; number < given.count; number++) {
    const { method, path, asked: document, seconds } = request(number);
    const body = document && JSON.stringify(document);
    const token = bob.ownerToken(given.inbox, scope, body, seconds);
    const problem = await bob.ask(given.inbox, method, path, token, body).then(() => null, String);
    asked.push({ form: scope, token, problem });
  }
}
answer(asked);
