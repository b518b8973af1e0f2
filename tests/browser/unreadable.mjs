/** Bob finds a delivery that nothing can be made of, and gets rid of it. */
import assert from 'node:assert/strict';

import { answer, close, isListening, openWindow, screenshot } from './browser.mjs';

const bob = await openWindow({ hash: '#bob.id', isSeen: true });
await isListening(bob);
const strange = bob.getByRole('list', { name: 'Deliveries that could not be opened' }).getByRole('listitem');
await strange.getByText(/^A delivery could not be opened\. .+\.$/).waitFor();
await screenshot(bob, 'unreadable-light');
await strange.getByRole('button', { name: 'Discard' }).click();
await strange.waitFor({ state: 'detached' });
await bob.reload();
await isListening(bob);
assert.equal(await strange.count(), 0);
await close();
answer({});
