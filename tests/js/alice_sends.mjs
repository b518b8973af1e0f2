/** Steps 1 and 2: look the recipient up, store the message, deliver its encrypted ID. */
import { AppUser } from './client.mjs';
import { answer, given } from './script.mjs';

const alice = new AppUser(given.user);
const { publicKey, card } = await alice.lookUp(given.recipient);
const id = await alice.writeMessage(given.text, publicKey);
const messageId = await alice.encryptId(id, publicKey);
const delivered = await alice.deliver(card.inboxes[0], messageId, given.recipient);
const again = await alice.deliver(card.inboxes[0], messageId, given.recipient);
answer({ id, messageId, delivered, again });
