/** Alice and Bob talk, Bob on two devices; by keyboard where a person would. */
import assert from 'node:assert/strict';

import { answer, close, isListening, line, openWindow, screenshot, send, turnTo } from './browser.mjs';

const MARKUP = '<img src=x onerror="alert(1)"><script>alert(2)</script> & <b>bold</b>';

const alice = await openWindow({ isSeen: true });
await alice.getByRole('heading', { name: 'Who are you in this window?' }).waitFor();
await screenshot(alice, 'welcome-light');
await alice.getByRole('button', { name: /alice\.id/ }).focus();
await alice.keyboard.press('Enter');
await isListening(alice);
assert.equal(await alice.evaluate(() => document.activeElement.id), 'text', 'the box to write in has the focus');

await send(alice, 'Hello?');
await line(alice, 'Hello?').getByText(/Not sent to bob\.id: There is no inbox card/).waitFor();

const bob = await openWindow({ hash: '#bob.id', colorScheme: 'dark' });
const phone = await openWindow({ hash: '#bob.id', viewport: { width: 360, height: 740 } });
await Promise.all([bob, phone].map(isListening));
await line(alice, 'Hello?').getByRole('button', { name: 'Send again' }).click();
await line(alice, 'Hello?').getByText(/^Stored at 127\.0\.0\.1:\d+, until \d+ [A-Z][a-z]+ or until it is read\. Receipt kept Signed, first contact: the server saw who wrote$/).waitFor();
await send(alice, MARKUP);

for (const each of [bob, phone]) {
  await line(each, 'Hello?').and(each.locator('.new')).waitFor();
  await line(each, '<b>bold</b>').and(each.locator('.new')).waitFor();
  assert.equal(await line(each, '<b>bold</b>').locator('.text').textContent(), MARKUP);
  assert.equal(await each.locator('.text img, .text b, .text script').count(), 0, 'markup is text');
  assert.equal(await each.title(), '(2) Bob – Inbox');
}
await screenshot(bob, 'lit-dark');

await turnTo(bob);
for (const each of [bob, phone]) {
  await line(each, 'Hello?').getByText('Signature checked, read, acknowledged').waitFor();
  await each.locator('.message.new').first().waitFor({ state: 'detached' });
  assert.equal(await each.title(), 'Bob – Inbox');
}

await send(bob, 'The meadow\nat noon.');
await line(bob, 'at noon').locator('.fate.good').waitFor();
await line(alice, 'at noon').getByText('acknowledged').waitFor();
await screenshot(alice, 'talk-light');
await turnTo(phone);
await send(phone, 'From my phone.');
await line(alice, 'From my phone.').waitFor();
await line(phone, 'From my phone.').locator('.fate.good').waitFor();
await screenshot(phone, 'talk-360');

const before = await alice.locator('.message .text').allTextContents();
assert.deepEqual(before, ['Hello?', MARKUP, 'The meadow\nat noon.', 'From my phone.']);
await alice.reload();
await isListening(alice);
assert.deepEqual(await alice.locator('.message .text').allTextContents(), before, 'a reload keeps what was said');
assert.match(await line(alice, 'Hello?').textContent(), /Stored at/);
await bob.reload();
await isListening(bob);
assert.equal(await bob.locator('.message.new').count(), 0);

await close();
answer({ texts: before });
