#!/usr/bin/env bash
# One would guess: reading Bob's key.json has no bearing on writing one's own key.json; the two lie in different buckets.
# What happens: @stacks/storage remembers ETags by the bare path, so getFile of Bob's file makes the next putFile of one's own
#   file send Bob's ETag in If-Match, and a hub that keeps its conditions answers 412.
# Version: @stacks/storage 7.4.0 with @stacks/auth, profile and encryption 7.6.0, from npm.
#   Seen: write own: stored, read Bob's: ok, write own again: PreconditionFailedError, sent Bob's ETag: true
# Who meets it: apps in which every user publishes a file of the same name (key.json, inbox.json), after looking at a friend's.
#   `dangerouslyIgnoreEtag: true` at putFile is the way round.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$folder" \
  @stacks/storage@7.4.0 @stacks/auth@7.6.0 @stacks/profile@7.6.0 @stacks/encryption@7.6.0 c32check@2.0.0 >/dev/null
cd "$folder"
cat > run.cjs <<'JS'
const http = require('http');
const { createHash } = require('crypto');
const { Storage } = require('@stacks/storage');
const { UserSession, AppConfig } = require('@stacks/auth');
const { signProfileToken, wrapProfileToken } = require('@stacks/profile');
const { getPublicKeyFromPrivate, publicKeyToBtcAddress } = require('@stacks/encryption');
const { b58ToC32 } = require('c32check');

const files = new Map(); // path -> { body, etag }
const conditions = []; // the If-Match header of each write
const etagOf = (body) => createHash('md5').update(body).digest('hex');
const keep = (path, body) => files.set(path, { body, etag: etagOf(body) });

// A stub of a Gaia hub that keeps If-Match and If-None-Match, with the read side and the name look-up beside it.
const server = http.createServer(async (request, response) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  const [, kind, ...rest] = request.url.split('/');
  const path = rest.join('/');
  const now = files.get(path);
  const answer = (status, body, headers = {}) => response.writeHead(status, headers).end(body);
  if (kind === 'store') {
    const match = request.headers['if-match'];
    conditions.push(match);
    if (match ? now?.etag !== match : request.headers['if-none-match'] && now)
      return answer(412, '{"message":"The entity you are trying to write has changed","error":"PreconditionFailedError"}');
    keep(path, Buffer.concat(parts));
    return answer(202, JSON.stringify({ publicURL: `${base}/read/${path}`, etag: files.get(path).etag }));
  }
  if (kind === 'hub_info')
    return answer(200, JSON.stringify({ challenge_text: '["gaiahub","0","stub","blockstack_storage_please_sign"]',
      latest_auth_version: 'v1', max_file_upload_size_megabytes: 20, read_url_prefix: `${base}/read/` }));
  if (kind === 'names') return answer(200, JSON.stringify(name));
  return now ? answer(200, now.body, { ETag: now.etag, 'Content-Type': 'application/json' }) : answer(404, '');
});

let base, name;
server.listen(0, '127.0.0.1', async () => {
  base = `http://127.0.0.1:${server.address().port}`;
  const app = 'http://localhost';
  const owner = '03'.repeat(32);
  const profile = { '@type': 'Person', apps: { [app]: `${base}/read/bob/` } };
  keep('profile.json', Buffer.from(JSON.stringify([wrapProfileToken(signProfileToken(profile, owner))])));
  keep('bob/key.json', Buffer.from('"bob"'));
  name = { address: b58ToC32(publicKeyToBtcAddress(getPublicKeyFromPrivate(owner))),
    zonefile: `$ORIGIN bob.id\n$TTL 3600\n_http._tcp IN URI 10 1 "${base}/read/profile.json"\n` };
  const userSession = new UserSession({ appConfig: new AppConfig(['store_write'], app) });
  userSession.store.sessionData.userData = { appPrivateKey: '01'.repeat(32), hubUrl: base, profile: {} };
  const storage = new Storage({ userSession });
  const write = (text) => storage.putFile('key.json', text, { encrypt: false }).then(() => 'stored', (error) => error.name);
  const first = await write('"alice"');
  const read = await storage.getFile('key.json', { decrypt: false, username: 'bob.id', app, zoneFileLookupURL: `${base}/names` });
  const second = await write('"alice again"');
  console.log(`write own: ${first}, read Bob's: ${read === '"bob"' ? 'ok' : read}, write own again: ${second}, ` +
    `sent Bob's ETag: ${conditions[1] === etagOf('"bob"')}`);
  server.close();
  server.closeAllConnections();
});
JS
seen=$(node run.cjs 2>/dev/null | grep -v "^\[DEBUG\]")
echo "$seen"
expected="write own: stored, read Bob's: ok, write own again: PreconditionFailedError, sent Bob's ETag: true"
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: ETags are no longer taken from another bucket's file of the same path."; exit 1; }
