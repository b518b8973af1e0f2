#!/usr/bin/env bash
# One would guess: the token in a Stacks profile is a JWT as RFC 7519 has it: exp in seconds, and verifying it includes exp.
# What happens: @stacks/profile writes iat and exp as ISO 8601 texts, so PyJWT refuses each genuine profile before it looks at
#   exp; and verifyProfileToken looks at no date, so a profile that ran out years ago is as good as a new one to it.
# Version: @stacks/profile 7.6.0 with @stacks/encryption 7.6.0, from npm; PyJWT 2.15.1 with cryptography 50.0.2, from PyPI.
#   Seen: exp is a string; new one: PyJWT InvalidIssuedAtError; one that ended in 2001: verifyProfileToken takes it
# Who meets it: resolvers in other languages. One that checks exp strictly loses names whose owners have not logged in for a year.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$folder" @stacks/profile@7.6.0 @stacks/encryption@7.6.0 >/dev/null
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check PyJWT==2.15.1 cryptography==50.0.2 2>/dev/null
cd "$folder"
cat > run.cjs <<'JS'
const { signProfileToken, verifyProfileToken } = require('@stacks/profile');
const { getPublicKeyFromPrivate } = require('@stacks/encryption');
const owner = '03'.repeat(32);
const publicKey = getPublicKeyFromPrivate(owner);
const profile = { '@type': 'Person' };
const ended = signProfileToken(profile, owner, undefined, undefined, 'ES256K', new Date('2000-01-01'), new Date('2001-01-01'));
let verdict = 'verifyProfileToken takes it';
try {
  verifyProfileToken(ended, publicKey);
} catch (error) {
  verdict = `verifyProfileToken: ${error.message}`;
}
console.log(JSON.stringify({ publicKey, token: signProfileToken(profile, owner), verdict }));
JS
seen=$(node run.cjs | "$folder/venv/bin/python" -c '
import json, sys, jwt
from cryptography.hazmat.primitives.asymmetric import ec

made = json.load(sys.stdin)
key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), bytes.fromhex(made["publicKey"]))
kind = {str: "a string", int: "a number"}[type(jwt.decode(made["token"], options={"verify_signature": False})["exp"])]
try:
    jwt.decode(made["token"], key, algorithms=["ES256K"])
    result = "takes it"
except jwt.InvalidTokenError as error:
    result = type(error).__name__
verdict = made["verdict"]
print(f"exp is {kind}; new one: PyJWT {result}; one that ended in 2001: {verdict}")
')
echo "$seen"
expected='exp is a string; new one: PyJWT InvalidIssuedAtError; one that ended in 2001: verifyProfileToken takes it'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: profile tokens have other dates, or they are checked."; exit 1; }
