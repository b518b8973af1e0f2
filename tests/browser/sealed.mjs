/** Alice and Bob write to each other: the first messages are signed, and then the server does not learn who writes. */
import assert from 'node:assert/strict';

import { answer, close, isListening, line, openWindow, screenshot, send } from './browser.mjs';

const alice = await openWindow({ hash: '#alice.id', isSeen: true });
const bob = await openWindow({ hash: '#bob.id', isSeen: true, viewport: { width: 360, height: 740 } });
await Promise.all([alice, bob].map(isListening));
await send(alice, 'Hello, Bob.');
await line(bob, 'Hello, Bob.').getByText('acknowledged').waitFor();
await line(alice, 'Hello, Bob.').getByText('Signed, first contact: the server saw who wrote').waitFor();

const isCard = (response) => response.request().method() === 'POST' && response.url().endsWith('/inbox.json');
const published = bob.waitForResponse(isCard, { timeout: 90_000 }); // with tickets for Alice, at the next round
await send(bob, 'Hello, Alice.');
await line(alice, 'Hello, Alice.').getByText('acknowledged').waitFor();
await published;

const asked = alice.waitForRequest((request) => request.method() === 'POST' && request.url().endsWith('/v1/messages'));
await send(alice, 'Now nobody sees who writes.');
const { authorization, cookie, referer } = await (await asked).allHeaders();
assert.match(authorization, /^InboxTicket [\w-]{43}$/);
assert.deepEqual([cookie, referer], [undefined, undefined]);
await line(alice, 'Now nobody sees who writes.').getByText('Sealed: the server does not know who wrote').waitFor();
await line(bob, 'Now nobody sees who writes.').getByText('acknowledged').waitFor();
await alice.getByRole('button', { name: 'What the server sees' }).click();
const told = (way) => alice.locator(`#told-${way}`).innerText();
await alice.locator('#told-sealed').waitFor();
assert.match(await told('signed'), /iss[^]*sub[^]*message_id/);
assert.match(await told('sealed'), /ticket\s+[\w-]{43}[^]*to\s+1[^]*message_id/);
for (const word of [/alice/i, /iss/, /0[23][0-9a-f]{64}/]) assert.doesNotMatch(await told('sealed'), word);
await alice.locator('#told').scrollIntoViewIfNeeded();
await screenshot(alice, 'sealed');
await alice.getByRole('button', { name: 'What the server sees' }).click();
await alice.setViewportSize({ width: 360, height: 740 });
await screenshot(alice, 'sealed-360');
await alice.emulateMedia({ colorScheme: 'dark' });
await screenshot(alice, 'sealed-dark-360');

await close();
answer({});
