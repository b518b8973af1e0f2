/** The settings panel: servers that will do and servers that will not, and whom Bob does not want to hear of. */
import assert from 'node:assert/strict';

import { answer, close, given, isListening, line, openWindow, passTheWait, screenshot, send, turnAway, turnTo } from './browser.mjs';

const alice = await openWindow({ hash: '#alice.id', isSeen: true });
const bob = await openWindow({ hash: '#bob.id', isSeen: true });
await bob.clock.install();
await bob.reload();
await Promise.all([alice, bob].map(isListening));
const panel = bob.getByRole('dialog', { name: 'Settings' });
const [url, said] = [panel.getByLabel('Your inbox server'), panel.locator('#place-said')];

// Whoever types faster than the server answers keeps what they typed, and cannot change rules that are not known yet.
let answerNow;
const held = new Promise((resolve) => (answerNow = resolve));
await bob.route('**/v1/inbox', async (route) => {
  await held;
  await route.continue();
});
await bob.getByRole('button', { name: 'Settings' }).click();
await url.fill('https://typed.example');
assert.equal(await panel.getByRole('button', { name: 'Save rules' }).isDisabled(), true);
answerNow();
await panel.getByText('0 unread of').waitFor();
assert.equal(await url.inputValue(), 'https://typed.example');
await bob.unroute('**/v1/inbox');
await bob.reload();
await isListening(bob);
await bob.getByRole('button', { name: 'Settings' }).click();
await panel.getByText('0 unread of').waitFor();
assert.equal(await url.inputValue(), given.inbox);

async function press(name, typed) {
  await url.fill(typed);
  await panel.getByRole('button', { name, exact: true }).click();
  await bob.locator('#place-said:is(.good, .bad)').waitFor();
  return said.textContent();
}

assert.match(await press('Check', given.inbox), /is an inbox server, and its clock agrees\. It takes everyone\./);
await screenshot(bob, 'settings-light');
assert.match(await press('Check', `${given.inbox}/v1/messages?limit=1`), /^“\/v1\/messages\?limit=1” was left out, for only the server's address counts\./);
assert.match(await press('Check', 'not a web address'), /That is not a web address/);
assert.match(await press('Save', given.nobody), /could not be reached/);
assert.match(await press('Save', given.names), /not as an inbox server/);
await panel.getByRole('button', { name: 'Close' }).click();
await isListening(bob);
assert.ok((await bob.locator('#connection').textContent()).includes(new URL(given.inbox).host), 'nothing bad was saved');

await bob.getByRole('button', { name: 'Settings' }).click();
await panel.getByLabel('alice.id').check();
await panel.getByLabel('Keep what is unread for').selectOption('1 day');
await panel.getByRole('button', { name: 'Save rules' }).click();
await panel.getByText('Saved.', { exact: true }).waitFor();
await send(alice, 'Do you hear me?');
await line(alice, 'Do you hear me?').getByText(/^Refused by 127\.0\.0\.1:\d+: They do not take messages from you/).waitFor();
await bob.reload();
await isListening(bob);
await bob.getByRole('button', { name: 'Settings' }).click();
await panel.getByText('0 unread of').waitFor();
assert.equal(await panel.getByLabel('alice.id').isChecked(), true);
assert.equal(await panel.getByLabel('Keep what is unread for').inputValue(), '86400');
await panel.getByLabel('alice.id').uncheck();
await panel.getByRole('button', { name: 'Save rules' }).click();
await panel.getByText('Saved.', { exact: true }).waitFor();

// What is unread moves along, also when the window is closed in the middle.
await turnAway(bob);
await send(alice, 'Before the move.');
await line(bob, 'Before the move.').getByText('New, signature checked').waitFor();
await url.fill(`${given.second}/`);
await panel.getByRole('button', { name: 'Save', exact: true }).click();
await said.filter({ hasText: 'Waiting 30 s' }).waitFor();
await screenshot(bob, 'moving-light');
await bob.reload();
await send(alice, 'While it moves.');
await line(bob, 'While it moves.').getByText('New, signature checked').waitFor();
await passTheWait(bob);
await bob.waitForFunction((host) => document.getElementById('connection').textContent === `Listening at ${host}`, new URL(given.second).host);
await bob.getByRole('button', { name: 'What the server sees' }).click();
await bob.locator('#rows-where').filter({ hasText: given.second }).waitFor();
await bob.getByText('2 unread, 0 read and forgotten.').waitFor();
await screenshot(bob, 'moved-light');
await turnTo(bob);
for (const text of ['Before the move.', 'While it moves.']) await line(bob, text).getByText('acknowledged').waitFor();
await bob.getByText('0 unread, 2 read and forgotten.').waitFor();
await bob.getByRole('button', { name: 'Settings' }).click();
await panel.getByText('0 unread of').waitFor();
assert.equal(await url.inputValue(), given.second);
assert.match(await press('Save', given.second), /^Saved: your inbox is at/);
await bob.keyboard.press('Escape');
assert.equal(await panel.isVisible(), false);
await isListening(bob);
await send(alice, 'And now?');
await line(bob, 'And now?').getByText('acknowledged').waitFor();
const fate = await line(alice, 'And now?').locator('.fate').textContent();
assert.ok(fate.includes(new URL(given.second).host), fate);

await close();
answer({});
