/** Runs `audit.mjs` in Chromium: bundled into one script, on an empty page. */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

import { answer, given } from '../../tests/js/script.mjs';

const from = (folder) => createRequire(new URL(`../../${folder}/`, import.meta.url));
const { build } = from('clients/js')('esbuild');
const { chromium } = from('tests/browser')('playwright-core');

const entry = fileURLToPath(new URL('audit.mjs', import.meta.url));
const bundled = await build({ entryPoints: [entry], bundle: true, format: 'iife', globalName: 'bench', target: 'es2022', write: false });
const browser = await chromium.launch({ executablePath: given.chromium, args: ['--no-sandbox', '--disable-gpu'] });
const page = await browser.newPage();
await page.addScriptTag({ content: bundled.outputFiles[0].text });
const devtools = await page.context().newCDPSession(page);
await devtools.send('Performance.enable', { timeDomain: 'threadTicks' });

/** Seconds of processor time that the page's main thread has used. */
async function used() {
  const { metrics } = await devtools.send('Performance.getMetrics');
  return metrics.find(({ name }) => name === 'TaskDuration').value;
}

await page.evaluate(async (count) => (globalThis.filled = await globalThis.bench.fill(count)) && undefined, given.entries);
const audits = [];
for (let times = 0; times < given.times; times += 1) {
  const before = await used();
  const seconds = await page.evaluate(() => globalThis.bench.audit(globalThis.filled));
  audits.push({ seconds, processor: (await used()) - before });
}
answer({ audits, browser: browser.version() });
await browser.close();
