/** Chromium for a script: windows with people in them, and what none of them may ever do. */
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { chromium } from 'playwright-core';

import { given } from '../js/script.mjs';

export { answer, given } from '../js/script.mjs';

const SCREENSHOTS = fileURLToPath(new URL('screenshots/', import.meta.url));
const STEP_MILLISECONDS = 15_000;
const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
];

const browser = await chromium.launch({ executablePath: given.chromium, args: FLAGS });
const wrong = [];

/** A window of a browser of its own, at the page's URL and perhaps a hash. Nobody looks at it until `turnTo`. */
export async function openWindow({ hash = '', isSeen = false, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  context.setDefaultTimeout(STEP_MILLISECONDS);
  // Headless windows all believe that they have the focus: here they are told.
  await context.addInitScript((seen) => {
    globalThis.isLookedAt = seen && !sessionStorage.getItem('isLeftAlone');
    document.hasFocus = () => globalThis.isLookedAt;
    addEventListener('securitypolicyviolation', (event) => console.error('CSP', event.violatedDirective, event.blockedURI));
  }, isSeen);
  const page = await context.newPage();
  page.on('console', (message) => {
    // A refused or failed request is what some tests are about, and Chromium writes an error for each.
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) wrong.push(message.text());
  });
  page.on('pageerror', (error) => wrong.push(String(error)));
  page.on('dialog', (dialog) => wrong.push(`a dialog: ${dialog.message()}`));
  page.on('request', (request) => {
    const { protocol, hostname } = new URL(request.url());
    if (protocol !== 'data:' && hostname !== '127.0.0.1') wrong.push(`a request to ${hostname}`);
  });
  await page.goto(given.url + hash);
  return page;
}

/** Somebody turns to the window. */
export async function turnTo(page) {
  await page.evaluate(() => {
    sessionStorage.removeItem('isLeftAlone');
    globalThis.isLookedAt = true;
    dispatchEvent(new Event('focus'));
  });
}

/** Nobody looks at the window any more. */
export async function turnAway(page) {
  await page.evaluate(() => {
    sessionStorage.setItem('isLeftAlone', 'yes'); // also after a reload
    globalThis.isLookedAt = false;
  });
}

/** A move waits half a minute for deliveries that were under way: not here. The page's clock must be installed. */
export async function passTheWait(page) {
  await page.waitForFunction(() => /^Waiting 30 s/.test(document.getElementById('place-said').textContent));
  await page.clock.fastForward(31_000);
}

export async function isListening(page) {
  await page.locator('#connection.good').waitFor();
}

export async function send(page, text) {
  await page.getByLabel(/^Message to/).fill(text);
  await page.keyboard.press('Enter');
}

/** The line of a message with this text. */
export function line(page, text) {
  return page.locator('.message').filter({ hasText: text });
}

/** For a person's eyes: tests/browser/screenshots, which is not committed. */
export async function screenshot(page, name, options = {}) {
  mkdirSync(SCREENSHOTS, { recursive: true });
  await page.evaluate(() => Promise.all(document.getAnimations().map((each) => each.finished.catch(() => undefined))));
  await page.screenshot({ path: `${SCREENSHOTS}${name}.png`, ...options });
}

export async function close() {
  await browser.close();
  assert.deepEqual(wrong, []);
}
