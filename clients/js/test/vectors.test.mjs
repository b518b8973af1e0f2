/** The vectors that were made with the unmodified npm packages: tests/vectors/stacks.json. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';

import { secp256k1 } from '@noble/curves/secp256k1.js';

import { isAppAddress, ownerHash } from '../dist/addresses.js';
import { fromHex, toHex } from '../dist/bytes.js';
import { isValidAt, readCard } from '../dist/card.js';
import { decrypt, encrypt, openEnvelope, signEnvelope } from '../dist/ecies.js';
import { CannotDecrypt, NotAuthentic, NotProven } from '../dist/errors.js';
import { isOrigin } from '../dist/identities.js';
import { AppKey, PublicKey } from '../dist/keys.js';
import { readKeyFile } from '../dist/keyfile.js';
import { preferring } from '../dist/lookups.js';
import { encryptPointer, pointerText, readMessageId } from '../dist/pointer.js';
import { findBucket, readProfile } from '../dist/profile.js';
import { parseToken, signToken } from '../dist/tokens.js';
import { profileUrl } from '../dist/zonefile.js';

const vectors = JSON.parse(readFileSync(new URL('../../../tests/vectors/stacks.json', import.meta.url), 'utf8'));
const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;

function keyOf(label) {
  return AppKey.parse(vectors.keys[label].privateKey);
}

/** The same signature with the other S: half of what jsontokens makes is so. */
function flipped(signature, format = 'compact') {
  const { r, s } = secp256k1.Signature.fromBytes(signature, format);
  return new secp256k1.Signature(r, ORDER - s).toBytes(format);
}

describe('keys and addresses', () => {
  for (const [label, key] of Object.entries(vectors.keys)) {
    test(label, () => {
      const own = AppKey.parse(key.privateKeyWithCompressionByte);
      assert.equal(own.public.hex, key.publicKeyCompressed);
      assert.equal(own.public.address, key.btcAddress);
      assert.equal(new PublicKey(fromHex(key.publicKeyUncompressed)).hex, key.publicKeyCompressed);
      assert.equal(toHex(own.public.uncompressed), key.publicKeyUncompressed);
      for (const address of [key.btcAddress, key.btcTestnetAddress, key.stacksMainnet, key.stacksTestnet]) {
        assert.equal(toHex(ownerHash(address)), key.hash160Compressed);
      }
      assert.equal(toHex(ownerHash(key.btcAddressOfUncompressed)), key.hash160Uncompressed);
    });
  }

  test('a changed character, another version and other texts are no app address', () => {
    const { btcAddress, btcTestnetAddress, stacksMainnet } = vectors.keys.aliceApp;
    assert.ok(isAppAddress(btcAddress));
    const changed = btcAddress.slice(0, -1) + (btcAddress.endsWith('n') ? 'm' : 'n');
    for (const text of [changed, btcTestnetAddress, stacksMainnet, '', 'alice.id', '1'.repeat(30), '1111111111111111111114oLvT3']) {
      assert.ok(!isAppAddress(text), text);
    }
  });
});

describe('encryption', () => {
  for (const vector of vectors.ecies.filter(({ ephemeralPrivateKey }) => ephemeralPrivateKey)) {
    test(vector.name, () => {
      const isSigned = JSON.parse(vector.cipher).signature !== undefined;
      const recipient = keyOf(vector.recipient);
      const inner = isSigned ? openEnvelope(vector.cipher).encrypted : vector.cipher;
      const plain = fromHex(vector.plaintextHex);
      const content = vector.plaintextUtf8 ?? plain;
      assert.deepEqual(decrypt(recipient, inner), content);
      const given = [fromHex(vector.ephemeralPrivateKey), fromHex(vector.ivHex)];
      const encoding = JSON.parse(inner).cipherTextEncoding ?? 'hex';
      assert.equal(encrypt(recipient.public, content, () => given.shift(), encoding), inner);
    });
  }

  test('another key, a changed text and what is none are not decrypted', () => {
    const { cipher, recipient } = vectors.ecies[0];
    const changed = cipher.replace(/"cipherText":"(.)/, (_, first) => `"cipherText":"${first === '0' ? '1' : '0'}`);
    const wrong = [[keyOf('mallory'), cipher], [keyOf(recipient), changed], [keyOf(recipient), '{}'], [keyOf(recipient), '']];
    for (const [key, text] of wrong) assert.throws(() => decrypt(key, text), CannotDecrypt);
  });

  test('an envelope with a high S is opened, and a changed one is not', () => {
    const envelope = JSON.parse(vectors.ecies.find(({ cipher }) => JSON.parse(cipher).signature).cipher);
    const high = { ...envelope, signature: toHex(flipped(fromHex(envelope.signature), 'der')) };
    for (const each of [envelope, high]) assert.equal(openEnvelope(JSON.stringify(each)).signer.hex, envelope.publicKey);
    const changed = { ...envelope, cipherText: `${envelope.cipherText} ` };
    for (const each of [changed, { ...envelope, publicKey: keyOf('mallory').public.hex }, {}, null]) {
      assert.throws(() => openEnvelope(JSON.stringify(each)), NotAuthentic);
    }
  });
});

describe('pointers', () => {
  const to = keyOf('bobApp');
  const random = (length) => crypto.getRandomValues(new Uint8Array(length));
  const { publicKeyCompressed: key } = vectors.keys.aliceApp;
  const pointer = { id: '0'.repeat(32), from: 'alice.id', app: 'https://chat.example' };
  const makeMessageId = (each) => encryptPointer(pointerText(each), to.public, random);

  test('they come back as they were, always in 816 characters; a place only with a bare key', () => {
    const url = 'https://gaia.example/hub/139DzmzVEBZSh7VF1YjgdzndDgbUhTWEMn/';
    for (const each of [pointer, { ...pointer, from: key }, { ...pointer, from: key, url }]) {
      const messageId = makeMessageId(each);
      assert.equal(messageId.length, 816);
      assert.deepEqual(readMessageId(messageId, to), each);
    }
    assert.deepEqual(readMessageId(makeMessageId({ ...pointer, url }), to), pointer);
    const places = { address: '', key: undefined, urls: ['https://a.example/', url] };
    assert.deepEqual(preferring(places, url).urls, [url, 'https://a.example/']);
    assert.deepEqual(preferring(places, 'https://evil.example/').urls, places.urls);
  });

  test('what is no pointer is not followed', () => {
    for (const wrong of [{ id: '../key' }, { id: 7 }, { from: 'nobody' }, { from: vectors.keys.aliceApp.btcAddress }, { app: 'chat' }]) {
      const messageId = makeMessageId({ ...pointer, ...wrong });
      assert.throws(() => readMessageId(messageId, to), CannotDecrypt);
    }
    assert.throws(() => readMessageId(encrypt(to.public, '{"v":2}', random), to), CannotDecrypt);
    assert.throws(() => makeMessageId({ ...pointer, url: 'x'.repeat(400) }), TypeError);
  });
});

describe('signatures', () => {
  test('the signature of a text is the one that @stacks/encryption makes', () => {
    for (const { content, privateKey, result } of vectors.ecdsa) {
      const { signature, publicKey } = JSON.parse(signEnvelope(AppKey.parse(privateKey), content));
      assert.deepEqual({ signature, publicKey }, result);
    }
  });

  test('what is no DER signature does not hold', () => {
    const key = keyOf('aliceApp');
    const message = Uint8Array.of(1);
    const good = toHex(key.signDer(message));
    assert.ok(key.public.signedDer(message, fromHex(good)));
    for (const hex of ['', '30', '3000', '300602010102', '30060201ff020101', '3006020100020100', `${good}00`, toHex(key.sign(message))]) {
      assert.ok(!key.public.signedDer(message, fromHex(hex)), hex);
    }
  });

  for (const { name, token, verifyWith } of vectors.jwts) {
    test(`a token of jsontokens: ${name}`, () => {
      const { signed, signature } = parseToken(token);
      const key = new PublicKey(fromHex(verifyWith));
      assert.ok(key.signed(signed, signature));
      assert.ok(key.signed(signed, flipped(signature)));
      assert.ok(!key.signed(signed, signature.map((byte, at) => (at === 5 ? byte ^ 1 : byte))));
    });
  }

  test('a card with a high S is read', () => {
    const key = keyOf('bobApp');
    const claims = { iss: key.public.hex, inboxes: ['https://inbox.example'], seq: 3, iat: 1000, exp: 2000 };
    const token = signToken(key, 'inbox-card+jwt', claims);
    const [header, payload] = token.split('.');
    const high = Buffer.from(flipped(parseToken(token).signature)).toString('base64url');
    const card = JSON.stringify({ card: `${header}.${payload}.${high}` });
    const read = readCard(card, key.public.address);
    assert.deepEqual([read.inboxes, read.seq], [claims.inboxes, 3]);
    assert.deepEqual([500, 1500, 2000].map((now) => isValidAt(read, now)), [false, true, false]);
    assert.throws(() => readCard(card, keyOf('aliceApp').public.address), /not signed by the key/);
  });
});

describe('names', () => {
  for (const { zonefile, tokenFileUrl } of vectors.zonefiles) {
    test(`the zone file of ${/\$ORIGIN (\S+)/.exec(zonefile)?.[1] ?? 'nobody'}`, () => {
      const url = profileUrl(zonefile);
      if (tokenFileUrl) assert.equal(url, tokenFileUrl);
      else assert.ok(url === undefined || zonefile.includes('_https._tcp'));
    });
  }

  for (const { name, nameInfoResponse, profileUrl: url, profileJsonText } of vectors.names) {
    test(`the profile of ${name}`, () => {
      assert.equal(profileUrl(nameInfoResponse.zonefile), url);
      const claim = readProfile(profileJsonText, nameInfoResponse.address);
      const [app, bucket] = Object.entries(claim.apps)[0];
      assert.equal(findBucket(claim, app).url, `${bucket.replace(/\/$/, '')}/`);
      assert.throws(() => findBucket(claim, `${app}.evil.example`), NotProven);
      assert.throws(() => readProfile(profileJsonText, vectors.keys.mallory.stacksMainnet), NotProven);
      assert.throws(() => readProfile(profileJsonText.replace('eyJ', 'eyK'), nameInfoResponse.address), NotProven);
    });
  }

  for (const { file, body, style, normalisesTo, bucketAddress } of vectors.publicKeyFileShapes) {
    test(`${file}: ${style}`, () => {
      assert.equal(readKeyFile(body, bucketAddress ?? vectors.keys.aliceApp.btcAddress)?.hex, normalisesTo ?? undefined);
      assert.equal(readKeyFile(body, vectors.keys.mallory.btcAddress), undefined);
    });
  }

  test('origins are as browsers write them', () => {
    for (const text of ['https://inbox.example', 'http://127.0.0.1:8710', 'https://[::1]:8443']) assert.ok(isOrigin(text));
    for (const text of ['https://inbox.example/', 'https://inbox.example:443', 'https://INBOX.example', 'inbox.example', 'https://a@b', 'https://a:99999', null]) {
      assert.ok(!isOrigin(text), text);
    }
  });
});
