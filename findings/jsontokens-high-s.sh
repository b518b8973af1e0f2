#!/usr/bin/env bash
# One would guess: a signature that jsontokens makes and takes is taken by the other secp256k1 libraries of its ecosystem, or by none.
# What happens: jsontokens leaves S as it comes out, and JWT's ES256K allows that; the usual secp256k1 libraries take only the lower
#   half unless told otherwise. So about half of the tokens of one and the same key are refused, with no pattern that one could see.
# Version: jsontokens 4.0.1, @noble/secp256k1 3.2.0 and @noble/curves 2.4.0, from npm.
#   Seen: of 100 tokens taken: jsontokens 100, node:crypto 100, @noble/secp256k1 46, @noble/curves 46, the latter with lowS: false 100
# Who meets it: servers that verify Stacks tokens with noble or libsecp256k1 (coincurve too) and test with one or two tokens.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$folder" \
  jsontokens@4.0.1 small@npm:@noble/secp256k1@3.2.0 curves@npm:@noble/curves@2.4.0 >/dev/null
cd "$folder"
cat > run.mjs <<'JS'
import { createPublicKey, createHash, verify } from 'node:crypto';
import jsontokens from 'jsontokens';
import * as small from 'small';
import { secp256k1 } from 'curves/secp256k1.js';

const privateKey = '01'.repeat(32);
const point = secp256k1.getPublicKey(Buffer.from(privateKey, 'hex'));
const whole = Buffer.from(secp256k1.getPublicKey(Buffer.from(privateKey, 'hex'), false));
const [x, y] = [whole.subarray(1, 33), whole.subarray(33)].map((part) => part.toString('base64url'));
const nodeKey = createPublicKey({ format: 'jwk', key: { kty: 'EC', crv: 'secp256k1', x, y } });
const signer = new jsontokens.TokenSigner('ES256K', privateKey);
const verifier = new jsontokens.TokenVerifier('ES256K', Buffer.from(point).toString('hex'));
const { hashes } = small;
hashes.sha256 = (message) => new Uint8Array(createHash('sha256').update(message).digest());

const taken = [0, 0, 0, 0, 0];
for (let n = 0; n < 100; n += 1) { // the nonces are RFC 6979's, so every run signs the same
  const token = signer.sign({ n });
  const signed = new Uint8Array(Buffer.from(token.slice(0, token.lastIndexOf('.'))));
  const signature = new Uint8Array(Buffer.from(token.split('.')[2], 'base64url'));
  taken[0] += verifier.verify(token);
  taken[1] += verify('sha256', signed, { key: nodeKey, dsaEncoding: 'ieee-p1363' }, signature);
  taken[2] += small.verify(signature, signed, point);
  taken[3] += secp256k1.verify(signature, signed, point);
  taken[4] += secp256k1.verify(signature, signed, point, { lowS: false });
}
console.log(`of 100 tokens taken: jsontokens ${taken[0]}, node:crypto ${taken[1]}, @noble/secp256k1 ${taken[2]}, ` +
  `@noble/curves ${taken[3]}, the latter with lowS: false ${taken[4]}`);
JS
seen=$(node run.mjs)
echo "$seen"
expected='of 100 tokens taken: jsontokens 100, node:crypto 100, @noble/secp256k1 46, @noble/curves 46, the latter with lowS: false 100'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: jsontokens signs otherwise, or the libraries now agree."; exit 1; }
