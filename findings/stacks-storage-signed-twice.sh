#!/usr/bin/env bash
# One would guess: a signed public file can be written anew as often as an unsigned one; and if a write fails, the old one stays.
# What happens: @stacks/storage remembers the ETag of the file but not that of its signature (PATH.sig). The second putFile stores
#   the new text, then fails with 412 at the signature. From then on the file does not verify for any reader.
# Version: @stacks/storage 7.4.0 with @stacks/auth 7.6.0, from npm.
#   Seen: first: stored, second: PreconditionFailedError, text now: two, verified read: SignatureVerificationError
# Who meets it: apps that publish `{ encrypt: false, sign: true }` files and keep them up to date.
#   `dangerouslyIgnoreEtag: true` at putFile is the way round.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$folder" @stacks/storage@7.4.0 @stacks/auth@7.6.0 >/dev/null
cd "$folder"
cat > run.cjs <<'JS'
const http = require('http');
const { createHash } = require('crypto');
const { Storage } = require('@stacks/storage');
const { UserSession, AppConfig } = require('@stacks/auth');

// A stub of a Gaia hub that keeps If-Match and If-None-Match, with the read side beside it.
const files = new Map(); // path -> { body, etag }
const server = http.createServer(async (request, response) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  const [, kind, ...rest] = request.url.split('/');
  const path = rest.join('/');
  const now = files.get(path);
  const answer = (status, body, headers = {}) => response.writeHead(status, headers).end(body);
  if (kind === 'store') {
    const match = request.headers['if-match'];
    if (match ? now?.etag !== match : request.headers['if-none-match'] && now)
      return answer(412, '{"message":"The entity you are trying to write has changed","error":"PreconditionFailedError"}');
    const body = Buffer.concat(parts);
    const etag = createHash('md5').update(body).digest('hex');
    files.set(path, { body, etag });
    return answer(202, JSON.stringify({ publicURL: `${base}/read/${path}`, etag }));
  }
  if (kind === 'hub_info')
    return answer(200, JSON.stringify({ challenge_text: '["gaiahub","0","stub","blockstack_storage_please_sign"]',
      latest_auth_version: 'v1', max_file_upload_size_megabytes: 20, read_url_prefix: `${base}/read/` }));
  return now ? answer(200, now.body, { ETag: now.etag, 'Content-Type': 'text/plain' }) : answer(404, '');
});

let base;
server.listen(0, '127.0.0.1', async () => {
  base = `http://127.0.0.1:${server.address().port}`;
  const userSession = new UserSession({ appConfig: new AppConfig(['store_write'], 'http://localhost') });
  userSession.store.sessionData.userData = { appPrivateKey: '01'.repeat(32), hubUrl: base, profile: {} };
  const storage = new Storage({ userSession });
  const told = (promise, text) => promise.then((value) => text ?? value, (error) => error.name);
  const write = (text) => told(storage.putFile('note.txt', text, { encrypt: false, sign: true }), 'stored');
  const first = await write('one');
  const second = await write('two');
  const text = await told(storage.getFile('note.txt', { decrypt: false }));
  const verified = await told(storage.getFile('note.txt', { decrypt: false, verify: true }));
  console.log(`first: ${first}, second: ${second}, text now: ${text}, verified read: ${verified}`);
  server.close();
  server.closeAllConnections();
});
JS
seen=$(node run.cjs 2>/dev/null | grep -v "^\[DEBUG\]")
echo "$seen"
expected='first: stored, second: PreconditionFailedError, text now: two, verified read: SignatureVerificationError'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: a signed file can be written twice, or fails in another way."; exit 1; }
