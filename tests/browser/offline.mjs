/** Bob's inbox server goes away and comes back; tests/browser/test_page.py stops and starts it when it is told to. */
import { answer, close, given, isListening, line, openWindow, passTheWait, screenshot, send } from './browser.mjs';

const RETRY_MILLISECONDS = 65_000; // the client tries again within a minute
const A_TRY_MILLISECONDS = 5_000; // it may have failed just before the inbox came back, and then waits for another minute

const alice = await openWindow({ hash: '#alice.id', isSeen: true });
await alice.clock.install();
await alice.reload();
const bob = await openWindow({ hash: '#bob.id', isSeen: true });
await bob.clock.install();
await bob.reload();
await Promise.all([alice, bob].map(isListening));
await bob.getByRole('button', { name: 'Settings' }).click();
await bob.getByLabel('Your inbox server').fill(given.second);
await bob.getByRole('button', { name: 'Save', exact: true }).click();
await passTheWait(bob);
await bob.locator('#place-said.good').filter({ hasText: 'Saved' }).waitFor();
await bob.keyboard.press('Escape');
await isListening(bob);

answer({ kind: 'stop' });
await bob.locator('#connection.bad').filter({ hasText: 'Connecting again' }).waitFor();
await send(alice, 'Are you there?');
await line(alice, 'Are you there?').getByText(/^Not delivered yet: .*could not be reached.* It is tried again by itself/).waitFor();
await screenshot(alice, 'waiting-light');
await screenshot(bob, 'offline-light');
await alice.reload();
await line(alice, 'Are you there?').getByText(/^Not delivered yet/).waitFor();
await isListening(alice);

answer({ kind: 'start' });
await isListening(bob);
const stored = line(alice, 'Are you there?').getByText(/^Stored at/);
await alice.clock.fastForward(RETRY_MILLISECONDS);
await stored.waitFor({ timeout: A_TRY_MILLISECONDS }).catch(() => alice.clock.fastForward(RETRY_MILLISECONDS));
await stored.waitFor();
await line(bob, 'Are you there?').getByText('acknowledged').waitFor();

await close();
answer({ kind: 'done' });
