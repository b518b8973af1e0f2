/**
 * tests/vectors/tokens.json: `node tests/js/make_token_vectors.mjs > tests/vectors/tokens.json`.
 *
 * Whatever jsontokens' `TokenSigner` can sign, it signs; the rest is put together from what it is made of. Its nonces
 * are RFC 6979's, keys and time are fixed, so every run prints the same bytes, and a test compares them.
 */
import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';

import { hashSha256 } from 'jsontokens/lib/cryptoClients/sha256.js';
import { SECP256K1Client, TokenSigner, createUnsecuredToken } from 'jsontokens';

import { digestOf } from './client.mjs';

const NOW = 1_800_000_000;
const AUDIENCE = 'https://inbox.example';
const APP = 'https://chat.example';
const GROUP_ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
const stacks = JSON.parse(readFileSync(new URL('../vectors/stacks.json', import.meta.url)));
const [alice, bob, mallory] = ['aliceApp', 'bobApp', 'mallory'].map((name) => ({
  private: stacks.keys[name].privateKey,
  public: stacks.keys[name].publicKeyCompressed,
  address: stacks.keys[name].btcAddress,
}));
const bobElsewhere = stacks.keys.bobApp; // the same key in all the forms that a token may not use
const aliceElsewhere = stacks.keys.aliceApp;

const KINDS = {
  deliver: { type: 'deliver', body: '{"message_id":"opaque"}' },
  read: { type: 'owner', scope: 'read', body: '' },
  ack: { type: 'owner', scope: 'ack', body: '{"ids":[]}' },
  settings: { type: 'owner', scope: 'settings', body: '{}' },
};

// How a token is made: jsontokens, or by hand where it cannot.

const base64url = (raw) => Buffer.from(raw).toString('base64url');
const typeOf = (kind) => (kind === 'deliver' ? 'inbox-deliver+jwt' : 'inbox-owner+jwt');

function claimsOf(kind, { body = KINDS[kind].body, claims = {}, without = [] } = {}) {
  const common = { app: APP, aud: AUDIENCE, iat: NOW, exp: NOW + 300 };
  const own =
    kind === 'deliver' ? { iss: 'alice.id', key: alice.public, sub: 'bob.id' } : { iss: alice.public, scope: kind };
  const digest = kind === 'read' ? {} : { digest: digestOf(body) };
  const made = { ...own, ...common, ...digest, ...claims };
  for (const claim of without) delete made[claim];
  return made;
}

/** Two parts, signed as they are. */
function signParts(header, claims, key = alice) {
  const message = `${header}.${claims}`;
  return `${message}.${SECP256K1Client.signHash(hashSha256(message), key.private)}`;
}

/** `header` and `claims` change members; `headerText` and `claimsText` the JSON of them; `edit` the finished token. */
function make(kind, how) {
  const { header = {}, headerText, claimsText, key = alice, edit = (token) => token } = how;
  const [allHeader, allClaims] = [{ typ: typeOf(kind), alg: 'ES256K', ...header }, claimsOf(kind, how)];
  if (!headerText && !claimsText) {
    return edit(new TokenSigner('ES256K', key.private).sign(allClaims, false, allHeader));
  }
  const same = (text) => text;
  const parts = [(headerText ?? same)(JSON.stringify(allHeader)), (claimsText ?? same)(JSON.stringify(allClaims))];
  return edit(signParts(...parts.map(base64url), key));
}

const cases = [];

function add(name, kind, reason, how, outcome) {
  const { type, scope, body } = { ...KINDS[kind], ...(how.body !== undefined && { body: how.body }) };
  const token = how.token ?? make(kind, how);
  cases.push({ name, type, ...(scope && { scope }), body: how.sent ?? body, token, ...outcome, reason });
}

function accept(name, kind, reason, how = {}) {
  add(name, kind, reason, how, { expect: 'accept' });
}

function refuse(name, kind, member, reason, how) {
  add(name, kind, reason, how, { expect: 'refuse', code: 'bad_token', member });
}

function refuseGaia(name, kind, reason, how) {
  add(name, kind, reason, how, { expect: 'refuse', code: 'gaia_token' });
}

// What edits are made of.

const partsOf = (token) => token.split('.');
const editPart = (index, change) => (token) =>
  partsOf(token)
    .map((part, at) => (at === index ? change(part) : part))
    .join('.');
const editAndSign = (index, change) => (token) => signParts(...partsOf(editPart(index, change)(token)).slice(0, 2));
/** `change` gets r and s as numbers, and gives what stands in the place of the signature. */
const editSignature = (change) =>
  editPart(2, (part) => {
    const raw = Buffer.from(part, 'base64url');
    return base64url(
      change(...[raw.subarray(0, 32), raw.subarray(32)].map((half) => BigInt(`0x${half.toString('hex')}`))),
    );
  });
const bytesOf = (...numbers) =>
  Buffer.from(numbers.map((number) => number.toString(16).padStart(64, '0')).join(''), 'hex');
const derOf = (token) => {
  const message = token.slice(0, token.lastIndexOf('.'));
  return Buffer.from(SECP256K1Client.signHash(hashSha256(message), alice.private, 'der'), 'hex');
};
const insert = (text) => (json) => `${json.slice(0, -1)},${text}}`;
const replaceMember = (member, text) => (json) =>
  json.replace(new RegExp(`"${member}":("[^"]*"|\\d+)`), `"${member}":${text}`);
/** The last character of base64url whose unused bits are not zero: it decodes to the same bytes, loosely. */
const loosen = (part) => part.slice(0, -1) + String.fromCharCode(part.charCodeAt(part.length - 1) + 1);
const isHigh = (token) => Buffer.from(partsOf(token)[2], 'base64url').readUInt8(32) >= 0x80;
/** The longest life up to 300 seconds with which jsontokens happens to sign in this half of S. */
function lifeSignedSo(kind, high) {
  for (let exp = NOW + 300; ; exp--) if (isHigh(make(kind, { claims: { exp } })) === high) return { exp };
}

// Accepted.

for (const kind of Object.keys(KINDS)) {
  accept(`${kind}: as jsontokens signs it, low S`, kind, 'S in the lower half', { claims: lifeSignedSo(kind, false) });
  accept(`${kind}: as jsontokens signs it, high S`, kind, 'S in the upper half', { claims: lifeSignedSo(kind, true) });
  const flipped = { edit: editSignature((r, s) => bytesOf(r, GROUP_ORDER - s)) };
  accept(
    `${kind}: S flipped`,
    kind,
    'whoever sees a token can make the other one of it, so none is an identity',
    flipped,
  );
  const backwards = (json) => JSON.stringify(Object.fromEntries(Object.entries(JSON.parse(json)).reverse()));
  const turned = { headerText: backwards, claimsText: backwards };
  accept(`${kind}: members in another order`, kind, 'JSON members have no order', turned);
  const life = kind === 'read' ? 3600 : 300;
  const skew = { earliest: { iat: NOW + 60, exp: NOW + 60 + life }, latest: { iat: NOW - 59 - life, exp: NOW - 59 } };
  accept(`${kind}: issued a minute ahead`, kind, 'iat = now + 60 is within the skew', { claims: skew.earliest });
  accept(`${kind}: expired 59 seconds ago`, kind, 'exp > now - 60 is within the skew', { claims: skew.latest });
  accept(`${kind}: a life of one second`, kind, 'exp - iat = 1', { claims: { exp: NOW + 1 } });
}
const SENDERS = {
  'a name with a key': {},
  'a subdomain with a key': { claims: { iss: 'alice.id.blockstack' } },
  'a name without a key': { without: ['key'] },
  'a key': { claims: { iss: alice.public }, without: ['key'] },
};
const RECIPIENTS = { 'a name': 'bob.btc', 'a subdomain': 'bob.id.stx', 'a key': bob.public, 'an address': bob.address };
for (const [sender, { claims, without }] of Object.entries(SENDERS)) {
  for (const [recipient, sub] of Object.entries(RECIPIENTS)) {
    accept(`deliver: from ${sender} to ${recipient}`, 'deliver', 'every form of an identity', {
      claims: { ...claims, sub },
      without,
    });
  }
}
const toLength = (characters) => (json) => {
  const used = base64url(JSON.stringify({ typ: typeOf('read'), alg: 'ES256K' })).length + 2 + 86;
  return json.padEnd(Math.floor(((characters - used) * 3) / 4));
};
accept('read: 2,048 characters', 'read', 'the longest that is taken', { claimsText: toLength(2048) });
accept('ack: JSON with spaces', 'ack', 'white space in JSON means nothing', {
  claimsText: (json) => JSON.stringify(JSON.parse(json), null, 2),
});
accept('deliver: escaped letters', 'deliver', 'an escape is the letter', {
  claimsText: (json) => json.replace('"iss":"alice.id"', '"\\u0069ss":"\\u0061lice.id"'),
});
accept('settings: no body', 'settings', 'DELETE has an empty body, and a digest', { body: '' });
accept('deliver: a body that is not ASCII', 'deliver', 'the digest is of the UTF-8 bytes', {
  body: '{"message_id":"Grüße 🐝"}',
});
accept('read: an app on localhost', 'read', 'an http origin with a port', { claims: { app: 'http://localhost:3000' } });

// The compact form, and base64url.

const shape = (name, edit, reason) => refuse(`shape: ${name}`, 'deliver', 'token', reason, { edit });
shape('one part', () => 'x', 'not three parts');
shape('two parts', (token) => partsOf(token).slice(0, 2).join('.'), 'no signature part');
shape('four parts', (token) => `${token}.e30`, 'jsontokens ignores a fourth part');
shape('five parts', () => 'e30.e30.e30.e30.e30', 'a JWE has five');
shape('a dot at the end', (token) => `${token}.`, 'an empty fourth part');
shape(
  'not compact',
  () =>
    JSON.stringify(
      new TokenSigner('ES256K', alice.private).sign(claimsOf('deliver'), true, { typ: typeOf('deliver') }),
    ),
  'the JSON serialisation',
);
const tooLong = { claimsText: (json) => toLength(2048)(json).concat(' ') };
refuse('shape: 2,049 characters or more', 'read', 'token', 'longer than is taken', tooLong);
refuse('shape: nothing', 'deliver', 'Authorization', 'Bearer and no token', { token: '' });
for (const [name, text] of Object.entries({ space: ' ', tab: '\t', 'line feed': '\n' })) {
  refuse(`shape: a ${name} inside`, 'deliver', 'Authorization', 'white space in a token', {
    edit: (token) => token.replace('.', `${text}.`),
  });
}
const withPadding = (part) => {
  const json = Buffer.from(part, 'base64url').toString();
  return Buffer.from(json.padEnd(json.length + 4 - (json.length % 3))).toString('base64');
};
for (const [index, part] of ['header', 'claims', 'signature'].entries()) {
  const edited = (change) => ({ edit: index === 2 ? editPart(index, change) : editAndSign(index, change) });
  refuse(
    `${part}: empty`,
    'deliver',
    part,
    'an empty part',
    edited(() => ''),
  );
  refuse(
    `${part}: padded`,
    'deliver',
    part,
    'base64url here has no padding',
    edited(index === 2 ? (text) => `${text}==` : withPadding),
  );
  refuse(
    `${part}: a character outside of the alphabet`,
    'deliver',
    part,
    'Python skips it',
    edited((text) => `${text}!`),
  );
  refuse(
    `${part}: a letter that is not ASCII`,
    'deliver',
    part,
    'ſ is s in another case',
    edited((text) => `ſ${text.slice(1)}`),
  );
}
const looseHeader = (token) =>
  signParts(loosen(base64url(JSON.stringify({ typ: typeOf('deliver'), alg: 'ES256K' }).padEnd(52))), partsOf(token)[1]);
refuse('header: a tail that is not canonical', 'deliver', 'header', 'unused bits that are not zero, signed', {
  edit: looseHeader,
});
const looseClaims = (token) => {
  const json = JSON.stringify(claimsOf('deliver'));
  return signParts(partsOf(token)[0], loosen(base64url(json.padEnd(json.length + 4 - (json.length % 3)))));
};
refuse('claims: a tail that is not canonical', 'deliver', 'claims', 'unused bits that are not zero, signed', {
  edit: looseClaims,
});
refuse('signature: a tail that is not canonical', 'deliver', 'signature', 'unused bits that are not zero', {
  edit: editPart(2, loosen),
});
// No good claims have a `+` or a `/` to write: of ASCII only `>`, `?` and `~` give them.
const inStandard = (part) => Buffer.from(part, 'base64url').toString('base64').replaceAll('=', '');
const asking = { claimsText: () => `{"a":"${'>'.repeat(6)}${'?'.repeat(6)}"}`, edit: editAndSign(1, inStandard) };
refuse('claims: the standard alphabet', 'deliver', 'claims', '+ and / are - and _ here', asking);
refuse('signature: the standard alphabet', 'deliver', 'signature', '+ and / are - and _ here', {
  edit: editPart(2, inStandard),
});

// The JSON of both parts.

const notJson = {
  'a byte-order mark': [(json) => `\ufeff${json}`, 'JSON has none'],
  'UTF-16': [(json) => Buffer.from(json, 'utf16le'), 'only UTF-8'],
  'bytes that are not UTF-8': [
    (json) => Buffer.concat([Buffer.from(json.slice(0, -2)), Buffer.from([0xff, 0x22, 0x7d])]),
    'only UTF-8',
  ],
  'a surrogate in UTF-8': [
    (json) => Buffer.concat([Buffer.from(json.slice(0, -2)), Buffer.from([0xed, 0xa0, 0x80, 0x22, 0x7d])]),
    'CESU-8 is not UTF-8',
  ],
  'an overlong NUL': [
    (json) => Buffer.concat([Buffer.from(json.slice(0, -2)), Buffer.from([0xc0, 0x80, 0x22, 0x7d])]),
    'modified UTF-8 is not UTF-8',
  ],
  'a NUL inside a string': [insert('"a":"\0"'), 'control characters are escaped in JSON'],
  'a NUL at the end': [(json) => `${json}\0`, 'nothing follows the object'],
  'half of a surrogate pair': [insert('"a":"\\ud800"'), 'no text can hold it'],
  'half of a surrogate pair as a name': [insert('"\\udc00":1'), 'no text can hold it'],
  NaN: [insert('"a":NaN'), 'not JSON'],
  Infinity: [insert('"a":-Infinity'), 'not JSON'],
  '1e400': [insert('"a":1e400'), 'infinity to most readers'],
  'a number that is not an integer': [insert('"a":1.5'), 'integers only'],
  'a leading zero': [insert('"a":01'), 'not JSON'],
  '1,200 brackets': [insert(`"a":${'['.repeat(1200)}`), 'the depth must not end a reader'],
  '150 objects': [insert(`"a":${'{"":'.repeat(150)}1${'}'.repeat(150)}`), 'nested, well-formed, and a surplus member'],
  'a comma at the end': [(json) => `${json.slice(0, -1)},}`, 'not JSON'],
  'single quotes': [(json) => json.replaceAll('"', "'"), 'not JSON'],
  'a comment': [(json) => `${json}//`, 'not JSON'],
  'two objects': [(json) => json + json, 'one object'],
  'an array': [(json) => `[${json}]`, 'an object'],
  'a string': [(json) => JSON.stringify(json), 'an object'],
  null: [() => 'null', 'an object'],
};
for (const [name, [change, reason]] of Object.entries(notJson)) {
  refuse(`header: ${name}`, 'read', 'header', reason, { headerText: change });
  refuse(`claims: ${name}`, 'read', 'claims', reason, { claimsText: change });
}
refuse('header: alg twice', 'deliver', 'header', 'one reader takes the first, another the last', {
  headerText: insert('"alg":"ES256K"'),
});
refuse('header: alg twice, once escaped', 'deliver', 'header', 'the same member after unescaping', {
  headerText: insert('"\\u0061lg":"none"'),
});
refuse('claims: aud twice', 'deliver', 'claims', 'one reader takes the first, another the last', {
  claimsText: insert('"aud":"https://evil.example"'),
});
refuse('claims: aud twice, once escaped', 'deliver', 'claims', 'the same member after unescaping', {
  claimsText: insert('"\\u0061ud":"https://evil.example"'),
});
refuse('claims: iss twice and equal', 'ack', 'claims', 'twice is twice', {
  claimsText: insert(`"iss":"${alice.public}"`),
});

// The header.

const jwk = { kty: 'EC', crv: 'secp256k1', x: base64url(Buffer.alloc(32, 1)), y: base64url(Buffer.alloc(32, 2)) };
const surplus = {
  kid: mallory.public,
  jwk,
  jku: 'https://evil.example/keys',
  x5c: ['MIIB'],
  x5u: 'https://evil.example/x',
  crit: ['exp'],
  zip: 'DEF',
  cty: 'JWT',
  enc: 'A256GCM',
  b64: true,
};
for (const [name, value] of Object.entries(surplus)) {
  refuse(`header: ${name}`, 'deliver', 'header', 'typ and alg, and nothing else', { header: { [name]: value } });
}
refuse('header: b64 false', 'deliver', 'header', 'RFC 7797, with claims in base64url all the same', {
  header: { b64: false, crit: ['b64'] },
});
const detached = (token) => partsOf(token).with(1, '').join('.');
refuse('header: b64 false, detached', 'deliver', 'claims', 'RFC 7797, without the claims', {
  header: { b64: false, crit: ['b64'] },
  edit: detached,
});
for (const alg of [
  'none',
  'None',
  '',
  'HS256',
  'ES256',
  'RS256',
  'EdDSA',
  'es256k',
  'ES256K-R',
  null,
  ['ES256K'],
  true,
]) {
  refuse(`header: alg ${JSON.stringify(alg)}`, 'deliver', 'alg', 'signed with ES256K, but says otherwise', {
    header: { alg },
  });
}
const typs = [
  'JWT',
  'jwt',
  'inbox-card+jwt',
  'inbox-owner+jwt',
  'INBOX-DELIVER+JWT',
  'application/inbox-deliver+jwt',
  '',
  null,
];
for (const typ of typs)
  refuse(`header: typ ${JSON.stringify(typ)}`, 'deliver', 'typ', 'another type', { header: { typ } });
refuse('header: a deliver token to an owner', 'read', 'typ', 'another type', { header: { typ: typeOf('deliver') } });
refuse('header: no alg', 'read', 'alg', 'missing', { headerText: () => `{"typ":"${typeOf('read')}"}` });
refuse('header: no typ', 'read', 'typ', 'missing', { headerText: () => '{"alg":"ES256K"}' });
refuse('unsecured: by jsontokens', 'deliver', 'alg', 'alg none, typ JWT', {
  token: createUnsecuredToken(claimsOf('deliver')),
});
refuse('unsecured: with our type', 'read', 'alg', 'alg none and no signature', {
  header: { alg: 'none' },
  edit: editPart(2, () => ''),
});
for (const [form, secret] of Object.entries({ bytes: Buffer.from(alice.public, 'hex'), text: alice.public })) {
  const hmac = (token) => {
    const message = partsOf(token).slice(0, 2).join('.');
    return `${message}.${createHmac('sha256', secret).update(message).digest('base64url')}`;
  };
  refuse(`hmac: the public key's ${form} as the secret`, 'read', 'alg', 'HS256', {
    header: { alg: 'HS256' },
    edit: hmac,
  });
  refuse(`hmac: the same, called ES256K, ${form}`, 'read', 'signature', '32 bytes', { edit: hmac });
}

// The signature.

const signature = (name, change, reason, kind = 'read') =>
  refuse(`signature: ${name}`, kind, 'signature', reason, { edit: editSignature(change) });
for (const kind of ['deliver', 'read']) {
  refuse(`signature: DER, ${kind}`, kind, 'signature', 'r and s, 64 bytes', {
    edit: (token) => editPart(2, () => base64url(derOf(token)))(token),
  });
  signature(`r = 0, ${kind}`, (r, s) => bytesOf(0n, s), 'r is 1 to n - 1', kind);
  signature(`s = 0, ${kind}`, (r) => bytesOf(r, 0n), 's is 1 to n - 1', kind);
  signature(`r = s = 0, ${kind}`, () => bytesOf(0n, 0n), 'the signature of "psychic" Java', kind);
  signature(`r = n, ${kind}`, (r, s) => bytesOf(GROUP_ORDER, s), 'r is 1 to n - 1', kind);
  signature(`s = n, ${kind}`, (r) => bytesOf(r, GROUP_ORDER), 's is 1 to n - 1', kind);
  signature(`r and s exchanged, ${kind}`, (r, s) => bytesOf(s, r), 'another signature', kind);
  refuse(`signature: by another key, ${kind}`, kind, 'signature', 'the key in the claims did not sign', {
    key: mallory,
  });
}
signature('r = s = n', () => bytesOf(GROUP_ORDER, GROUP_ORDER), 'zero, modulo n');
signature('all bits', () => Buffer.alloc(64, 0xff), 'above n');
signature('r = s = 1', () => bytesOf(1n, 1n), 'another signature');
signature('63 bytes', (r, s) => bytesOf(r, s).subarray(1), 'not 64 bytes');
signature('65 bytes', (r, s) => Buffer.concat([bytesOf(r, s), Buffer.from([0])]), 'with a recovery byte');
signature('hex', (r, s) => bytesOf(r, s).toString('hex'), '128 bytes');
refuse('signature: of other claims', 'read', 'signature', 'signed for another app', {
  edit: editPart(2, () => partsOf(make('read', { claims: { app: 'https://b.example' } }))[2]),
});
refuse('signature: without a key, by another', 'deliver', 'signature', "not by the bucket's key", {
  without: ['key'],
  key: mallory,
});
refuse('signature: from a key, by another', 'deliver', 'signature', 'not by iss', {
  claims: { iss: alice.public },
  without: ['key'],
  key: mallory,
});
refuse("signature: somebody else's inbox", 'read', 'signature', 'iss is Bob, the signer is Alice', {
  claims: { iss: bob.public },
});

// The claims: which, and of what.

for (const kind of ['deliver', 'ack']) {
  for (const claim of Object.keys(claimsOf(kind))) {
    if (claim === 'key') continue;
    refuse(`${kind}: no ${claim}`, kind, claim, 'missing', { without: [claim] });
    refuse(`${kind}: ${claim} is null`, kind, claim, 'null is no value', { claims: { [claim]: null } });
    refuse(`${kind}: ${claim} in an array`, kind, claim, 'one value', { claims: { [claim]: [claimsOf(kind)[claim]] } });
  }
}
for (const claim of ['jti', 'nbf', 'to', 'scope', 'ISS']) {
  refuse(`deliver: surplus ${claim}`, 'deliver', 'claims', 'the exact claims', { claims: { [claim]: 'read' } });
}
refuse('read: surplus digest', 'read', 'claims', 'a read token has none', { claims: { digest: digestOf('') } });
refuse('read: surplus sub', 'read', 'claims', 'the inbox is that of the key', { claims: { sub: bob.address } });
refuse('deliver: a key beside a key', 'deliver', 'key', 'only for an iss that is a name', {
  claims: { iss: alice.public },
});
const scopes = {
  ack: 'ack',
  settings: 'settings',
  'in capitals': 'READ',
  two: 'read ack',
  empty: '',
  'a number': 1,
  all: '*',
};
for (const [name, scope] of Object.entries(scopes)) {
  refuse(`scope: ${name} for read`, 'read', 'scope', 'the scope of the request', { claims: { scope } });
}
const keys = {
  'in capitals': alice.public.toUpperCase(),
  uncompressed: aliceElsewhere.publicKeyUncompressed,
  hybrid: `07${aliceElsewhere.publicKeyUncompressed.slice(2)}`,
  'hybrid and short': `06${alice.public.slice(2)}`,
  'off the curve': `02${'5'.padStart(64, '0')}`,
  'x above the field': `02${'f'.repeat(64)}`,
  'x of zero': `03${'0'.repeat(64)}`,
  'the point at infinity': '00',
  'with 0x': `0x${alice.public}`,
  'x alone': alice.public.slice(2),
  'a NUL after it': `${alice.public}\0`,
  'a line feed after it': `${alice.public}\n`,
  'its address': alice.address,
  base64url: base64url(Buffer.from(alice.public, 'hex')),
};
for (const [name, key] of Object.entries(keys)) {
  refuse(`iss: ${name}, owner`, 'read', 'iss', '66 lower-case hex characters of a point', { claims: { iss: key } });
  refuse(`key: ${name}`, 'deliver', 'key', '66 lower-case hex characters of a point', { claims: { key } });
  refuse(`iss: ${name}, deliver`, 'deliver', 'iss', '66 lower-case hex characters of a point', {
    claims: { iss: key },
    without: ['key'],
  });
}
const names = [
  'alice',
  'Alice.id',
  'alice.id.',
  '.id',
  'alice..id',
  'a.b.c.d',
  'alice.id/x',
  'alice id.id',
  'аlice.id',
  'alice.id\0',
  'alice.id\n',
  'alice。id',
  '',
];
for (const name of names) {
  refuse(`iss: the name ${JSON.stringify(name)}`, 'deliver', 'iss', 'not a name of two or three lower-case labels', {
    claims: { iss: name },
  });
  refuse(`sub: the name ${JSON.stringify(name)}`, 'deliver', 'sub', 'not a name of two or three lower-case labels', {
    claims: { sub: name },
  });
}
const addresses = {
  'of a testnet': bobElsewhere.btcTestnetAddress,
  'of Stacks': bobElsewhere.stacksMainnet,
  'as a DID': bobElsewhere.didBtcAddr,
  'of a script': '34bNQUVgyhSrA8XpM4HkerHUUdNmLpiyj7',
  'with a wrong checksum': `${bob.address.slice(0, -1)}6`,
  'after a one too many': `1${bob.address}`,
  'after a space': ` ${bob.address}`,
};
for (const [name, sub] of Object.entries(addresses)) {
  refuse(`sub: an address ${name}`, 'deliver', 'sub', 'base58check, version 0, mainnet', { claims: { sub } });
}
const audiences = [
  `${AUDIENCE}/`,
  `${AUDIENCE}:443`,
  AUDIENCE.toUpperCase(),
  'http://inbox.example',
  'inbox.example',
  'https://inbox.example.evil.example',
  'https://a@inbox.example',
  ` ${AUDIENCE}`,
  `${AUDIENCE}\0`,
  `${AUDIENCE}/v1/messages`,
  APP,
  '*',
  '',
  true,
  1,
  {},
];
for (const aud of audiences) {
  refuse(`aud: ${JSON.stringify(aud)}`, 'deliver', 'aud', "one string, exactly the server's origin", {
    claims: { aud },
  });
}
refuse('aud: two', 'deliver', 'aud', 'one string', { claims: { aud: [AUDIENCE, 'https://evil.example'] } });
for (const app of [
  `${APP}/`,
  `${APP}/x`,
  `${APP}?x`,
  'https://Chat.example',
  `${APP}:443`,
  'chat.example',
  'null',
  'ftp://chat.example',
  'https://a@chat.example',
  'https://',
  `${APP}\0`,
  '',
]) {
  refuse(`app: ${JSON.stringify(app)}`, 'ack', 'app', 'a web origin as browsers write it', { claims: { app } });
}
const digest = digestOf(KINDS.deliver.body);
const raw = Buffer.from(digest, 'base64url');
const digests = {
  padded: `${digest}=`,
  'in hex': raw.toString('hex'),
  'in capitals': digest.toUpperCase(),
  'in the standard alphabet': raw.toString('base64'),
  'of nothing': digestOf(''),
  'a tail that is not canonical': loosen(digest),
  empty: '',
};
for (const [name, other] of Object.entries(digests)) {
  refuse(`digest: ${name}`, 'deliver', 'digest', 'base64url(SHA-256(body)) without padding', {
    claims: { digest: other },
  });
}
refuse('digest: another body came', 'deliver', 'digest', 'a token is for one body', { sent: '{"message_id":"other"}' });
refuse('digest: a line feed more', 'ack', 'digest', 'a token is for one body', { sent: '{"ids":[]}\n' });
refuse('digest: no body came', 'settings', 'digest', 'a token is for one body', { sent: '' });

// Times.

const times = (name, member, claims, reason, kind = 'deliver') =>
  refuse(`times: ${name}`, kind, member, reason, { claims });
times('61 seconds ahead', 'iat', { iat: NOW + 61, exp: NOW + 361 }, 'iat > now + 60');
times('expired 60 seconds ago', 'exp', { iat: NOW - 360, exp: NOW - 60 }, 'exp <= now - 60');
times('a life of 301 seconds', 'exp', { exp: NOW + 301 }, 'longer than 300');
times('a life of 301 seconds, ack', 'exp', { exp: NOW + 301 }, 'longer than 300', 'ack');
times('a life of 3,601 seconds, read', 'exp', { exp: NOW + 3601 }, 'longer than 3600', 'read');
times('no life', 'exp', { exp: NOW }, 'exp = iat');
times('the end before the start', 'exp', { iat: NOW, exp: NOW - 1 }, 'exp < iat');
times('in milliseconds', 'iat', { iat: NOW * 1000, exp: NOW * 1000 + 300 }, 'seconds');
times('negative', 'exp', { iat: -300, exp: -1 }, 'long past');
times('zero', 'exp', { iat: 0, exp: 300 }, 'long past');
for (const claim of ['iat', 'exp']) {
  times(`${claim} as text`, claim, { [claim]: String(claimsOf('deliver')[claim]) }, 'an integer');
  times(
    `${claim} as a date`,
    claim,
    { [claim]: new Date(NOW * 1000).toISOString() },
    'profiles write these; an integer',
  );
  times(`${claim} is true`, claim, { [claim]: true }, 'Python takes true for 1');
  times(`${claim} with a half`, 'claims', { [claim]: NOW + 0.5 }, 'an integer');
  for (const [name, text] of Object.entries({
    'with .0': `${NOW}.0`,
    'as 18e8': '18e8',
    'as 1e400': '1e400',
    NaN: 'NaN',
    '-0.0': '-0.0',
  })) {
    refuse(`times: ${claim} ${name}`, 'deliver', 'claims', 'an integer, written as one', {
      claimsText: replaceMember(claim, text),
    });
  }
  const far = { [claim]: BigInt('9'.repeat(700)) };
  refuse(`times: ${claim} of 700 digits`, 'deliver', 'exp', 'no life is so long', {
    claimsText: replaceMember(claim, far[claim]),
  });
}
const farAway = (json) =>
  replaceMember('exp', `1${'0'.repeat(397)}300`)(replaceMember('iat', `1${'0'.repeat(400)}`)(json));
refuse('times: both of 401 digits', 'deliver', 'iat', 'far ahead', { claimsText: farAway });

// Write keys to buckets.

const gaia = {
  gaiaChallenge: '["gaiahub","0","hub.example","blockstack_storage_please_sign"]',
  hubUrl: 'https://hub.example',
  iss: alice.public,
  salt: '00',
};
const asGaia = (claims) => new TokenSigner('ES256K', alice.private).sign(claims);
refuseGaia('gaia: as a hub takes it', 'deliver', 'a write key to a bucket', { token: `v1:${asGaia(gaia)}` });
refuseGaia('gaia: without its prefix', 'deliver', 'a write key to a bucket', { token: asGaia(gaia) });
refuseGaia('gaia: with a date in it', 'read', 'wallets write floats', { token: asGaia({ ...gaia, exp: NOW + 0.5 }) });
refuseGaia('gaia: the prefix alone', 'read', 'whatever follows it', { token: 'v1:x' });
refuseGaia('gaia: the prefix before a good token', 'read', 'whatever follows it', { edit: (token) => `v1:${token}` });
for (const claim of [
  'gaiaChallenge',
  'hubUrl',
  'gaiaHubUrl',
  'associationToken',
  'scopes',
  'salt',
  'childToAssociate',
]) {
  refuseGaia(`gaia: a deliver token with ${claim}`, 'deliver', 'it opens a bucket, or delegates that', {
    claims: { [claim]: 'x' },
  });
}

const description =
  'Bearer tokens of the message inbox protocol, version 1 (docs/protocol.md), for any implementation. `token` ' +
  'is what stands behind `Bearer `, `body` is the text of the request body that came with it, in UTF-8. Check ' +
  'each at `now`, as a server whose origin is `audience`, for a request that takes `type` (and `scope`). A ' +
  'deliver token is verified with its `key`; else with `iss`, if that is a key; else with the public key of ' +
  '`keys.alice`, as if every name led to her. Names are not looked up otherwise. `code` and `member` are what ' +
  'this server answers; a token with more than one fault may be refused for another.';
const madeWith = Object.fromEntries(
  ['jsontokens', '@noble/secp256k1'].map((name) => {
    const manifest = new URL(`./node_modules/${name}/package.json`, import.meta.url);
    return [name, JSON.parse(readFileSync(manifest)).version];
  }),
);
const document = {
  description,
  made_with: madeWith,
  now: NOW,
  audience: AUDIENCE,
  keys: { alice, bob, mallory },
  cases,
};
console.log(JSON.stringify(document, null, 1));
