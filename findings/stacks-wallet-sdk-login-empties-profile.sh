#!/usr/bin/env bash
# One would guess: a login that cannot read the user's profile just now (503, no connection, a proxy's page) fails, or leaves the profile alone;
#   fetchProfileFromUrl tells a 404 from all else, and throws for the latter.
# What happens: it throws inside its own try and gives null for both. makeAuthResponse takes null for "no profile yet" and uploads a newly signed one
#   with nothing but the app of this login. The login succeeds; the user's name, picture, accounts and other apps are gone.
# Version: @stacks/wallet-sdk 7.4.0 with @stacks/encryption 7.6.0, from npm.
#   Seen: login: ok, Ann, apps a b; login while reading gives 503: ok, no name, apps c
# Who meets it: wallets on hubs that read from another host or cache than they write to; apps whose users cannot be found by others one day.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$folder" @stacks/wallet-sdk@7.4.0 @stacks/encryption@7.6.0 >/dev/null
cd "$folder"
cat > run.cjs <<'JS'
const http = require('http');
const { generateWallet, makeAuthResponse, signAndUploadProfile } = require('@stacks/wallet-sdk');
const { getPublicKeyFromPrivate } = require('@stacks/encryption');

// A stub of a Gaia hub with its read side, which can be told to be busy.
const files = new Map();
let isBusy = false;
const server = http.createServer(async (request, response) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  const [, kind, ...rest] = request.url.split('/');
  const path = rest.join('/');
  const answer = (status, body) => response.writeHead(status, { 'Content-Type': 'application/json' }).end(body);
  if (kind === 'hub_info')
    return answer(200, JSON.stringify({ challenge_text: '["gaiahub","0","stub","blockstack_storage_please_sign"]',
      latest_auth_version: 'v1', max_file_upload_size_megabytes: 20, read_url_prefix: `${base}/read/` }));
  if (kind === 'store') {
    files.set(path, Buffer.concat(parts));
    return answer(202, JSON.stringify({ publicURL: `${base}/read/${path}`, etag: 'x' }));
  }
  if (isBusy) return answer(503, '{}');
  return files.has(path) ? answer(200, files.get(path)) : answer(404, '{}');
});

let base;
server.listen(0, '127.0.0.1', async () => {
  base = `http://127.0.0.1:${server.address().port}`;
  const secretKey = 'abandon '.repeat(11) + 'about';
  const { accounts: [account] } = await generateWallet({ secretKey, password: 'p' });
  const transitPublicKey = getPublicKeyFromPrivate('01'.repeat(32));
  const published = () => JSON.parse([...files.values()][0])[0].decodedToken.payload.claim;
  const logIn = async (app) => {
    const told = await makeAuthResponse({ account, appDomain: `https://${app}.example`, gaiaHubUrl: base, transitPublicKey,
      scopes: ['publish_data'] }).then(() => 'ok', (error) => error.message);
    const { name, apps } = published();
    return `${told}, ${name ?? 'no name'}, apps ${Object.keys(apps).map((origin) => origin.slice(8, 9)).join(' ')}`;
  };
  const profile = { '@type': 'Person', '@context': 'http://schema.org', name: 'Ann', apps: { 'https://a.example': `${base}/read/x/` } };
  await signAndUploadProfile({ profile, gaiaHubUrl: base, account });
  const first = await logIn('b');
  isBusy = true;
  console.log(`login: ${first}; login while reading gives 503: ${await logIn('c')}`);
  server.close();
  server.closeAllConnections();
});
JS
seen=$(node run.cjs 2>/dev/null | grep -v "^\[DEBUG\]")
echo "$seen"
expected='login: ok, Ann, apps a b; login while reading gives 503: ok, no name, apps c'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: a login that cannot read the profile fails, or keeps what the profile had."; exit 1; }
