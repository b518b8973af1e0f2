/**
 * One user of one app, with unmodified npm packages only: the protocol as a JavaScript app speaks it.
 *
 * The five steps are `writeMessage`, `deliver`, (the server's), `unread`, `fetchMessage` with `acknowledge`; before
 * them the recipient publishes and claims. Tokens, encryption and buckets are left to jsontokens and @stacks.
 */
import { createHash, randomBytes } from 'node:crypto';

import { AppConfig, UserSession } from '@stacks/auth';
import { decryptContent, encryptContent, getPublicKeyFromPrivate, publicKeyToBtcAddress } from '@stacks/encryption';
import { Storage } from '@stacks/storage';
import { TokenSigner, TokenVerifier, decodeToken } from 'jsontokens';

const TOKEN_SECONDS = 300;
const MAX_CARD_SECONDS = 400 * 86_400;
const POINTER_BYTES = 415; // encrypted with base64, always 816 characters: the size tells nothing
const MESSAGE_ID = /^[0-9a-f]{32}$/; // it becomes a path in the sender's bucket

/** The server answered with a problem: its stable `code` is what to act on. */
export class InboxRefused extends Error {
  name = 'InboxRefused';

  constructor(status, problem) {
    super(`${status} ${problem.code}: ${problem.detail}`);
    this.status = status;
    this.code = problem.code;
  }
}

/** The recipient has no inbox card that can be trusted, so nothing was sent. */
export class BadCard extends Error {
  name = 'BadCard';
}

export class AppUser {
  /**
   * `privateKey` is the app private key: 64 hex characters, for stacks.js cannot decrypt with the 66 that end with 01.
   * `now` is the time in seconds; the tests' clock gives it, and an app takes `Math.floor(Date.now() / 1000)`.
   */
  constructor({ name, app, privateKey, namesUrl, hubUrl, associationToken, now }) {
    Object.assign(this, { name, app, privateKey, now });
    this.publicKey = getPublicKeyFromPrivate(privateKey);
    const appConfig = new AppConfig(['store_write', 'publish_data'], app, '', '/manifest.json', namesUrl);
    const userData = { username: name, appPrivateKey: privateKey, hubUrl, gaiaAssociationToken: associationToken, profile: {} };
    this.storage = new Storage({ userSession: new UserSession({ appConfig, sessionOptions: { userData } }) });
  }

  // Before the first step: how others find this user.

  /** Write the app public key and the signed inbox card into the bucket. */
  async publish(inboxes, seq) {
    await this.writePublicly('key.json', JSON.stringify(this.publicKey));
    await this.writePublicly('inbox.json', JSON.stringify({ card: this.makeCard(inboxes, seq) }));
  }

  makeCard(inboxes, seq) {
    const card = { iss: this.publicKey, inboxes, seq, iat: this.now, exp: this.now + MAX_CARD_SECONDS };
    return this.sign(card, 'inbox-card+jwt');
  }

  /** Claim the inbox, or change its settings. */
  claim(inbox, settings) {
    const body = JSON.stringify(settings);
    return this.ask(inbox, 'PUT', '/v1/inbox', this.ownerToken(inbox, 'settings', body), body);
  }

  /** A recipient's app public key and inbox card, both checked against the address of the bucket. */
  async lookUp(recipient) {
    const elsewhere = { username: recipient, app: this.app, decrypt: false };
    const url = new URL(await this.storage.getFileUrl('key.json', elsewhere));
    const address = url.pathname.split('/').at(-2);
    const publicKey = JSON.parse(await this.storage.getFile('key.json', elsewhere));
    if (publicKeyToBtcAddress(publicKey) !== address) throw new BadCard('key.json is not the key of its bucket');
    const { card } = JSON.parse(await this.storage.getFile('inbox.json', elsewhere));
    return { publicKey, card: readCard(card, address, this.now) };
  }

  // Step 1: the message, encrypted to the recipient and signed, in the own bucket.

  async writeMessage(text, recipientKey) {
    const id = randomBytes(16).toString('hex');
    await this.storage.putFile(`outbox/${id}.json`, text, { encrypt: recipientKey, sign: true });
    return id;
  }

  // Step 2: the message ID, encrypted, to the recipient's inbox.

  encryptId(id, recipientKey) {
    const pointer = JSON.stringify({ v: 1, id, from: this.name, app: this.app });
    return encryptContent(pointer.padEnd(POINTER_BYTES), { publicKey: recipientKey, cipherTextEncoding: 'base64' });
  }

  deliver(inbox, messageId, recipient) {
    const body = JSON.stringify({ message_id: messageId });
    const token = this.sign(this.deliverClaims(inbox, recipient, body), 'inbox-deliver+jwt');
    return this.ask(inbox, 'POST', '/v1/messages', token, body);
  }

  deliverClaims(inbox, recipient, body) {
    const claims = { iss: this.name, key: this.publicKey, sub: recipient, app: this.app, aud: inbox };
    return { ...claims, digest: digestOf(body), iat: this.now, exp: this.now + TOKEN_SECONDS };
  }

  // Step 4: the unread list.

  unread(inbox) {
    return this.ask(inbox, 'GET', '/v1/messages', this.ownerToken(inbox, 'read'));
  }

  // Step 5: decrypt, fetch and verify, acknowledge.

  async readPointer(messageId) {
    const pointer = JSON.parse(await decryptContent(messageId, { privateKey: this.privateKey }));
    if (pointer.v !== 1 || !MESSAGE_ID.test(pointer.id)) throw new Error('not a pointer of version 1');
    return pointer;
  }

  /** The message's text; `verify` checks that its signer's key hashes to the address of the sender's bucket. */
  fetchMessage(pointer) {
    const signed = { username: pointer.from, app: this.app, decrypt: true, verify: true };
    return this.storage.getFile(`outbox/${pointer.id}.json`, signed);
  }

  acknowledge(inbox, ids) {
    const body = JSON.stringify({ ids });
    return this.ask(inbox, 'POST', '/v1/messages/ack', this.ownerToken(inbox, 'ack', body), body);
  }

  // What the steps are made of.

  sign(claims, typ) {
    return new TokenSigner('ES256K', this.privateKey).sign(claims, false, { typ });
  }

  ownerToken(inbox, scope, body, seconds = TOKEN_SECONDS) {
    const claims = { iss: this.publicKey, app: this.app, aud: inbox, scope, iat: this.now, exp: this.now + seconds };
    return this.sign(body === undefined ? claims : { ...claims, digest: digestOf(body) }, 'inbox-owner+jwt');
  }

  /**
   * Well-known files are written over whatever is there. Without `dangerouslyIgnoreEtag` a hub answers 412: stacks.js
   * sends `If-None-Match: *` for a path it has not read, and after reading another user's `key.json`, that one's ETag.
   */
  writePublicly(path, content) {
    const contentType = 'application/json';
    return this.storage.putFile(path, content, { encrypt: false, contentType, dangerouslyIgnoreEtag: true });
  }

  async ask(inbox, method, path, token, body) {
    const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' };
    const response = await fetch(inbox + path, { method, headers, body });
    const text = await response.text();
    const answer = text ? JSON.parse(text) : {};
    if (!response.ok) throw new InboxRefused(response.status, answer);
    return answer;
  }
}

/** The claims of a card that the key of the bucket at `address` signed. */
export function readCard(card, address, now) {
  const { header, payload } = decodeToken(card);
  if (header.typ !== 'inbox-card+jwt') throw new BadCard('not an inbox card');
  if (publicKeyToBtcAddress(payload.iss) !== address || !new TokenVerifier('ES256K', payload.iss).verify(card)) {
    throw new BadCard('not signed by the key of this bucket');
  }
  if (payload.iat > now + TOKEN_SECONDS || payload.exp <= now) throw new BadCard('expired, or not valid yet');
  return payload;
}

/** base64url(SHA-256(body)) without padding: what binds a token to one body. */
export function digestOf(body) {
  return createHash('sha256').update(body).digest('base64url');
}
