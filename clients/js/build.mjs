/** dist/: the package's modules with their types (tsc), and inbox-client.js, one module with everything (esbuild). */
import { spawnSync } from 'node:child_process';
import { cpSync, readFileSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const here = fileURLToPath(new URL('.', import.meta.url));
rmSync(`${here}dist`, { recursive: true, force: true });

const compiled = spawnSync(process.execPath, [`${here}node_modules/typescript/bin/tsc`, '-p', here], {
  stdio: 'inherit',
});
if (compiled.status !== 0) process.exit(compiled.status ?? 1);

const bundle = `${here}dist/inbox-client.js`;
await build({
  entryPoints: [`${here}dist/index.js`],
  outfile: bundle,
  bundle: true,
  format: 'esm',
  platform: 'browser',
  target: 'es2022',
  minify: true,
  legalComments: 'inline', // the licences of what is inside travel with it
});
cpSync(`${here}../../LICENSE`, `${here}LICENSE`); // npm packs only what lies below the package
const content = readFileSync(bundle);
console.log(`inbox-client.js: ${content.length} bytes, ${gzipSync(content, { level: 9 }).length} gzipped`);
