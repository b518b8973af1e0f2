/** What everybody needs: names for what can be used, contrast, room on a narrow screen, a focus that is seen. */
import assert from 'node:assert/strict';

import { answer, close, given, isListening, line, openWindow, screenshot, send } from './browser.mjs';

/** Runs in the page. Every visible text whose contrast with what lies behind it is less than WCAG 2.2 AA wants. */
function lowContrasts() {
  const parse = (colour) => colour.match(/[\d.]+/g).map(Number);
  const isClear = (colour) => parse(colour).length === 4 && parse(colour)[3] === 0;
  const ground = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const { backgroundColor } = getComputedStyle(each);
      if (!isClear(backgroundColor)) return parse(backgroundColor);
    }
    return [255, 255, 255];
  };
  const light = (colour) => {
    const [red, green, blue] = colour.map((part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const [text, element] = [walker.currentNode.textContent.trim(), walker.currentNode.parentElement];
    if (text === '' || !element.checkVisibility() || element.closest('option, noscript')) continue;
    const { color, fontSize, fontWeight } = getComputedStyle(element);
    const [one, other] = [light(parse(color)), light(ground(element))].sort((a, b) => b - a);
    const isLarge = parseFloat(fontSize) >= 24 || (parseFloat(fontSize) >= 18.66 && Number(fontWeight) >= 700);
    const contrast = (one + 0.05) / (other + 0.05);
    if (contrast < (isLarge ? 3 : 4.5)) found.push(`${contrast.toFixed(2)}: ${text.slice(0, 40)}`);
  }
  return found;
}

/** Runs in the page. What a person can use and no screen reader can name. */
function nameless() {
  const label = (element) => [
    element.getAttribute('aria-label'),
    ...(element.getAttribute('aria-labelledby') ?? '').split(' ').map((id) => document.getElementById(id)?.textContent),
    ...[...(element.labels ?? [])].map((each) => each.textContent),
    element.matches('button, a') ? element.textContent : '',
  ];
  const all = [...document.querySelectorAll('a, button, input, select, textarea, dialog, nav, aside, [role], [tabindex]')];
  return all
    .filter((element) => element.checkVisibility() && !element.matches('[role="status"], [role="alert"]'))
    .filter((element) => !label(element).some((text) => text?.trim()))
    .map((element) => element.outerHTML.slice(0, 80));
}

const findings = {};

async function look(page, name) {
  await screenshot(page, name);
  const overflow = await page.evaluate(() =>
    [document.documentElement, document.querySelector('main')].some((each) => each.scrollWidth > each.clientWidth),
  );
  findings[name] = { lowContrasts: await page.evaluate(lowContrasts), nameless: await page.evaluate(nameless), overflow };
}

/** Once around by Tab alone, from the first element of the page: what gets the focus, and how wide it is outlined. */
async function walkByTab(page) {
  const walked = [];
  for (;;) {
    await page.keyboard.press('Tab');
    const [what, outline] = await page.evaluate(() => {
      const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
      return [document.activeElement.id || document.activeElement.tagName, outlineStyle === 'none' ? 0 : parseFloat(outlineWidth)];
    });
    if (walked.some((each) => each.what === what)) return walked;
    if (what !== 'BODY' && (walked.length > 0 || what === 'leave')) walked.push({ what, outline });
  }
}

let walked;
for (const colorScheme of ['light', 'dark']) {
  for (const width of [390, 1280]) {
    const options = { colorScheme, isSeen: true, viewport: { width, height: 800 }, reducedMotion: 'reduce' };
    const page = await openWindow(options);
    const bob = await openWindow({ ...options, hash: '#bob.id' });
    const name = `${width}-${colorScheme}`;
    await page.getByRole('heading', { name: 'Who are you in this window?' }).waitFor();
    await look(page, `welcome-${name}`);
    await isListening(bob);
    await page.getByRole('button', { name: /alice\.id/ }).click();
    await isListening(page);
    await send(page, `A message with ${'a-word-that-is-very-long-'.repeat(6)} in it, ${name}`);
    await line(page, name).locator('.fate.good').waitFor();
    await line(bob, name).getByText('acknowledged').waitFor();
    await look(bob, `reader-${name}`);
    if (width === 1280) walked ??= await walkByTab(page);
    await page.getByRole('button', { name: 'What the server sees' }).click();
    await page.locator('#table-message td').first().waitFor();
    await look(page, `rows-${name}`);
    if (width === 390) {
      const top = await page.getByRole('heading', { name: 'What the server sees' }).evaluate((heading) => heading.getBoundingClientRect().top);
      assert.ok(top > 0 && top < 400, `${top}: the rows have scrolled into view`);
    }
    await page.getByRole('button', { name: 'Settings' }).click();
    await page.getByText('unread of').waitFor();
    await page.getByLabel('Your inbox server').fill(given.nobody);
    await page.getByRole('button', { name: 'Check' }).click();
    await page.locator('#place-said.bad').waitFor();
    await look(page, `settings-${name}`);
    await page.context().close();
    await bob.context().close();
  }
}

await close();
answer({ findings, walked });
