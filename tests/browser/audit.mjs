/** Bob audits his server: at first it shows everything, then it keeps a message back, and the audit finds it. */
import assert from 'node:assert/strict';

import { answer, close, isListening, line, openWindow, screenshot, send } from './browser.mjs';

const alice = await openWindow({ hash: '#alice.id', isSeen: true });
const bob = await openWindow({ hash: '#bob.id', isSeen: true, viewport: { width: 360, height: 740 } });
await Promise.all([alice, bob].map(isListening));
await send(alice, 'Hello, Bob.');
await line(bob, 'Hello, Bob.').getByText('acknowledged').waitFor();
await line(alice, 'Hello, Bob.').getByText('Receipt kept').waitFor();

const panel = bob.getByRole('dialog', { name: 'Settings' });
const said = panel.locator('#audit-said');
await bob.getByRole('button', { name: 'Settings' }).click();
await said.getByText('Not audited yet.').waitFor();
await panel.getByRole('button', { name: 'Audit now' }).click();
await said.filter({ hasText: /: everything is accounted for\. 1 log entry and 1 receipt of contacts looked at\.$/ }).waitFor();
assert.equal(await panel.locator('#audit-details li').count(), 0);
await panel.locator('#audit').scrollIntoViewIfNeeded();
await screenshot(bob, 'audit-good-360');
await panel.getByRole('button', { name: 'Close' }).click();

// From here on, no list and no stream has a message in it.
await bob.route('**/v1/messages?*', async (route) => {
  const response = await route.fetch();
  await route.fulfill({ response, json: { ...(await response.json()), messages: [] } });
});
await bob.route('**/v1/events', (route) => route.abort());
await bob.reload();
await send(alice, 'Can you see me?');
await line(alice, 'Can you see me?').getByText('Receipt kept').waitFor();
assert.equal(await line(bob, 'Can you see me?').count(), 0);
await bob.getByRole('button', { name: 'Settings' }).click();
await said.filter({ hasText: 'everything is accounted for' }).waitFor();
await panel.getByRole('button', { name: 'Audit now' }).click();
await said.filter({ hasText: /: something is missing or was changed\..* 1 message found in contacts' own storage\.$/ }).waitFor();
const [detail] = await panel.locator('#audit-details li').allTextContents();
assert.match(detail, /^127\.0\.0\.1:\d+: It logged an entry and shows it neither as unread nor as read\.$/);
await panel.locator('#audit').scrollIntoViewIfNeeded();
await screenshot(bob, 'audit-bad-360');
await panel.getByRole('button', { name: 'Close' }).click();
await line(bob, 'Can you see me?').waitFor();
await bob.getByRole('alert').getByText('Your inbox server hides something or has changed it').waitFor();
await screenshot(bob, 'audit-told-360');

// It is remembered.
await bob.unroute('**/v1/events');
await bob.reload();
await bob.getByRole('button', { name: 'Settings' }).click();
await said.filter({ hasText: 'something is missing or was changed' }).waitFor();

await close();
answer({});
