/** Deliver `count` times, each with its own token, in every form that a sender and a recipient may have. */
import { AppUser } from './client.mjs';
import { answer, given } from './script.mjs';

const SENDERS = {
  'name and key': (claims) => claims,
  'name alone': ({ key, ...claims }) => claims,
  'key alone': ({ key, ...claims }) => ({ ...claims, iss: key }),
};

const alice = new AppUser(given.user);
const forms = Object.entries(SENDERS).flatMap(([sender, change]) =>
  Object.entries(given.recipients).map(([form, recipient]) => ({ form: `${sender} to ${form}`, change, recipient })),
);
const sent = [];
for (let number = 0; number < given.count; number++) {
  const { form, change, recipient } = forms[number % forms.length];
  const body = JSON.stringify({ message_id: `opaque ${number}` });
  const token = alice.sign(change(alice.deliverClaims(given.inbox, recipient, body)), 'inbox-deliver+jwt');
  const problem = await alice.ask(given.inbox, 'POST', '/v1/messages', token, body).then(() => null, String);
  sent.push({ form, token, problem });
}
answer(sent);
