/** What the server sees, while things happen. */
import assert from 'node:assert/strict';

import { answer, close, isListening, line, openWindow, screenshot, send, turnTo } from './browser.mjs';

const SECRET = 'Nobody else shall read this sentence.';

const alice = await openWindow({ hash: '#alice.id', isSeen: true });
const bob = await openWindow({ hash: '#bob.id', colorScheme: 'dark' });
await Promise.all([alice, bob].map(isListening));
// Rows also in a window that is behind others.
await alice.evaluate(() => Object.defineProperty(document, 'visibilityState', { value: 'hidden' }));
await alice.getByRole('button', { name: 'What the server sees' }).click();
const panel = alice.getByRole('complementary', { name: 'What the server sees' });
await panel.getByText('0 unread, 0 read and forgotten.').waitFor();

await send(alice, SECRET);
await panel.getByText('1 unread, 0 read and forgotten.').waitFor();
await panel.locator('#table-message td.fresh').first().waitFor();
/** What is told while it answers is beside the rows, not in them. */
const rows = async () => (await Promise.all(['#rows-summary', '#rows-search', '#tables'].map((part) => panel.locator(part).innerText()))).join('\n');
const waiting = await rows();
assert.match(await panel.locator('#told-signed').innerText(), /iss/);
await alice.waitForFunction(() => document.querySelectorAll('#table-text td').length === 2);
await screenshot(alice, 'rows-light');

await turnTo(bob);
await line(bob, SECRET).getByText('acknowledged').waitFor();
await panel.getByText('0 unread, 1 read and forgotten.').waitFor();
await alice.waitForFunction(() => document.querySelectorAll('#table-text td').length === 0);
const read = await rows();
assert.match(read, /none is in them\./);

await bob.getByRole('button', { name: 'What the server sees' }).click();
await bob.locator('#table-inbox td').first().waitFor();
await screenshot(bob, 'rows-dark');
const columns = await bob.locator('#tables').evaluate((tables) =>
  Object.fromEntries(
    [...tables.children].map((section) => [
      section.id.replace('table-', ''),
      [...section.querySelectorAll('th')].map((cell) => cell.textContent),
    ]),
  ),
);
await alice.getByRole('button', { name: 'What the server sees' }).click();
assert.equal(await panel.isVisible(), false);

await close();
answer({ secret: SECRET, waiting, read, columns });
