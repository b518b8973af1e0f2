/** The page when its client was not built. */
import assert from 'node:assert/strict';

import { answer, close, openWindow, screenshot } from './browser.mjs';

const page = await openWindow();
await page.getByRole('heading', { name: 'One step is missing' }).waitFor();
assert.equal(await page.locator('#unbuilt pre').textContent(), 'make page');
assert.equal(await page.locator('#welcome').isVisible(), false);
await screenshot(page, 'unbuilt-light');
await close();
answer({});
