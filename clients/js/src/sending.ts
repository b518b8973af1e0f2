/** Steps 1 and 2: the message into the own bucket, its encrypted ID to the recipient's inboxes, the receipts into the index. */
import { receiptKeysOf } from './card.js';
import type { Contacts } from './contacts.js';
import { checkContent, encrypt, signEnvelope } from './ecies.js';
import type { Content } from './ecies.js';
import { Unreachable } from './errors.js';
import type { InboxError } from './errors.js';
import type { Indexes } from './indexes.js';
import type { Receipt } from './inbox.js';
import { PublicKey } from './keys.js';
import type { AppKey } from './keys.js';
import { toHex } from './bytes.js';
import type { Settled } from './options.js';
import { Outbox } from './outbox.js';
import type { Delivery, Proof, SendReport } from './outbox.js';
import type { Own } from './own.js';
import { idOf } from './pages.js';
import { encryptPointer } from './pointer.js';
import type { Recipients } from './recipients.js';
import type { State } from './state.js';
import { parseObject } from './tokens.js';

const USUAL_LIFE_SECONDS = 30 * 86_400; // for the index, until a server says how long it keeps a message

export interface SendingOptions {
  own: Own;
  key: AppKey;
  /** How others identify this user: by the name, or by the key itself. */
  identity: string;
  options: Settled;
  state: State;
  recipients: Recipients;
  contacts: Contacts;
  indexes: Indexes;
}

export class Sending {
  readonly outbox: Outbox;
  readonly #what: SendingOptions;

  constructor(what: SendingOptions) {
    this.#what = what;
    const { own, state, options, recipients } = what;
    this.outbox = new Outbox({
      ...{ state, random: options.random, clock: () => own.now(), askTime: () => own.askTime() },
      deliver: (inbox, delivery) => this.#deliver(inbox, delivery),
      cardOf: (recipient) => recipients.cardOf(recipient),
      index: (delivery, stored) => this.#toIndex(delivery, stored),
    });
  }

  /** See `InboxClient.send`. */
  async send(recipient: string, content: Content, ttlSeconds: number | undefined): Promise<SendReport> {
    const { own, key, identity, recipients, contacts, indexes, options } = this.#what;
    checkContent(content);
    const { key: to, card } = await recipients.find(recipient);
    const { random, app } = options;
    const id = toHex(random(16));
    const message = signEnvelope(key, encrypt(to, content, random));
    const bucket = await own.bucket();
    await bucket.write(`outbox/${id}.json`, message);
    const now = own.now();
    const place = identity === key.public.hex ? { url: bucket.url } : {};
    const { plain, slot } = await indexes.next({ id, from: identity, app, ...place }, to, now);
    const ttl = ttlSeconds === undefined ? {} : { ttl: ttlSeconds };
    const body = JSON.stringify({ message_id: encryptPointer(plain, to, random), ...ttl });
    const keys = card instanceof Unreachable ? {} : receiptKeysOf(card);
    const proof = { ...slot, expires: now + (ttlSeconds ?? USUAL_LIFE_SECONDS), keys };
    await contacts.meet(to, recipient === to.address ? to.hex : recipient, now);
    return this.outbox.send({ id, recipient, body, proof }, card instanceof Unreachable ? card : card.inboxes);
  }

  /** A receipt is asked for where the card has a key for it, and the server has the feature. */
  async #deliver(inbox: string, { body, recipient, proof }: Delivery): Promise<Receipt> {
    const { own, identity: sender } = this.#what;
    const [server, key] = [own.server(inbox), proof?.keys[inbox]];
    if (!proof || key === undefined) return server.deliver(body, { sender, recipient });
    const isGiven = await server.hasFeature('receipts').catch((error: unknown) => {
      if (!(error instanceof Unreachable)) throw error;
      return false; // a server that cannot say is only asked to deliver
    });
    if (!isGiven) return server.deliver(body, { sender, recipient });
    const { address } = PublicKey.parse(proof.to);
    return server.deliver(body, { sender, recipient, receipt: { key, address } });
  }

  async #toIndex({ id, body, proof }: Delivery & { proof: Proof }, stored: SendReport['stored']): Promise<InboxError | undefined> {
    const latest = Math.max(...stored.map(({ expires }) => expires));
    const expires = stored.length > 0 ? latest : proof.expires;
    const signed = stored.flatMap(({ inbox, signed, expires: until }) => {
      return signed ? [[inbox, { ...signed, expires: until }]] : [];
    });
    const entry = idOf(String(parseObject(body).message_id));
    return this.#what.indexes.put(proof, { n: proof.n, id, entry, expires, receipts: Object.fromEntries(signed) });
  }
}
