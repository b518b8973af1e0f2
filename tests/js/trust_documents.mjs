/**
 * What the audit of clients/js writes, for other programs to check: evidence against a server that lies, and the
 * checkpoint of an honest one. `points` are those that it reads in a `checkpoint` that is given.
 */
import { readCheckpoints } from '../../clients/js/dist/checkpoint.js';
import { AppKey } from '../../clients/js/dist/keys.js';
import { newKey, World } from '../../clients/js/test/liar.mjs';
import { answer, given } from './script.mjs';

const world = new World();
const server = world.serve();
const [alice, bob] = [newKey(), given.key].map((key) => world.device(key));
server.owner = bob.address;
await bob.claim({}, { inboxes: [server.origin] });
await bob.publish([server.origin]);
await alice.send(bob.publicKey, 'met');
await bob.fetch((await bob.unread()).entries[0]);
await bob.audit();
const checkpoint = world.files.get(`${bob.address}/checkpoint.json`).content;
server.keeps = () => false;
await alice.send(bob.publicKey, 'hidden');
server.keeps = () => true;
world.now += 86_400; // a log of the same day is the owner's word only
const [hidden] = (await bob.audit()).findings;
server.inbox.logged.pop();
const rolledBack = (await bob.audit()).findings.find(({ code }) => code === 'rolled_back');
const points = readCheckpoints(given.checkpoint, AppKey.parse(given.key));
answer({ checkpoint, evidence: [hidden.evidence, rolledBack.evidence], points });
