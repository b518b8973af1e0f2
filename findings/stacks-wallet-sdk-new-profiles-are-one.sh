#!/usr/bin/env bash
# One would guess: somebody who logs in for the first time gets a new profile, with nothing in it but the app of this login.
# What happens: for everybody who has no profile yet, makeAuthResponse writes into one and the same object, the constant DEFAULT_PROFILE, and signs
#   and uploads that. So the profile of the second new account in a process lists the apps of the first one too, with the first one's keys and
#   buckets: whoever looks up Bob's bucket for an app finds Ann's, and everybody can see that both use the same wallet or host.
# Version: @stacks/wallet-sdk 7.4.0 with @stacks/encryption 7.6.0, from npm. Ann and Bob have wallets of their own.
#   Seen: Ann at app a: apps a; Bob at app b: apps a b, a is Ann's; emptied before, Cid at app c: apps c
# Who meets it: wallets whose user makes a second account and logs in with it before the wallet was started anew; servers that log users in.
#   Bob's own login at app a puts his entry in its place; until then what is meant for him goes to Ann, and the signature is genuine.
#   `delete DEFAULT_PROFILE.apps; delete DEFAULT_PROFILE.appsMeta` (it is exported) before each login is the way round, one login at a time.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$folder" @stacks/wallet-sdk@7.4.0 @stacks/encryption@7.6.0 >/dev/null
cd "$folder"
cat > run.cjs <<'JS'
const http = require('http');
const { DEFAULT_PROFILE, generateWallet, getAppPrivateKey, getGaiaAddress, makeAuthResponse } = require('@stacks/wallet-sdk');
const { getPublicKeyFromPrivate } = require('@stacks/encryption');

// A stub of a Gaia hub: what the token of an upload is for is its bucket.
const profiles = new Map();
const server = http.createServer(async (request, response) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  const [, kind, bucket] = request.url.split('/');
  const answer = (status, body) => response.writeHead(status, { 'Content-Type': 'application/json' }).end(body);
  if (kind === 'hub_info')
    return answer(200, JSON.stringify({ challenge_text: '["gaiahub","0","stub","blockstack_storage_please_sign"]',
      latest_auth_version: 'v1', max_file_upload_size_megabytes: 20, read_url_prefix: `${base}/read/` }));
  if (kind !== 'store') return profiles.has(bucket) ? answer(200, profiles.get(bucket)) : answer(404, '{}');
  profiles.set(bucket, Buffer.concat(parts));
  return answer(202, JSON.stringify({ publicURL: `${base}/read/${bucket}/profile.json`, etag: 'x' }));
});

const words = ['abandon '.repeat(11) + 'about', 'legal winner thank year wave sausage worth useful legal winner thank yellow', 'zoo '.repeat(11) + 'wrong'];
const transitPublicKey = getPublicKeyFromPrivate('01'.repeat(32));
const origin = (app) => `https://${app}.example`;
let base;
server.listen(0, '127.0.0.1', async () => {
  base = `http://127.0.0.1:${server.address().port}`;
  const [ann, bob, cid] = await Promise.all(words.map(async (secretKey) => (await generateWallet({ secretKey, password: 'p' })).accounts[0]));
  const loggedIn = async (account, app) => {
    await makeAuthResponse({ account, appDomain: origin(app), gaiaHubUrl: base, transitPublicKey, scopes: ['publish_data'] });
    const [{ decodedToken }] = JSON.parse(profiles.get(getGaiaAddress(account)));
    return decodedToken.payload.claim;
  };
  const apps = (profile) => `apps ${Object.keys(profile.apps).map((url) => url.slice(8, 9)).join(' ')}`;
  const annsKey = getPublicKeyFromPrivate(getAppPrivateKey({ account: ann, appDomain: origin('a') }));
  const first = await loggedIn(ann, 'a');
  const second = await loggedIn(bob, 'b');
  const whose = second.appsMeta[origin('a')]?.publicKey === annsKey && second.apps[origin('a')] === first.apps[origin('a')] ? ", a is Ann's" : '';
  delete DEFAULT_PROFILE.apps;
  delete DEFAULT_PROFILE.appsMeta;
  const third = await loggedIn(cid, 'c');
  console.log(`Ann at app a: ${apps(first)}; Bob at app b: ${apps(second)}${whose}; emptied before, Cid at app c: ${apps(third)}`);
  server.close();
  server.closeAllConnections();
});
JS
seen=$(node run.cjs 2>/dev/null | grep -v "^\[DEBUG\]")
echo "$seen"
expected="Ann at app a: apps a; Bob at app b: apps a b, a is Ann's; emptied before, Cid at app c: apps c"
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: a new account gets a profile of its own."; exit 1; }
