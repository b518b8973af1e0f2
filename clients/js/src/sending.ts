/** Steps 1 and 2: the message into the own bucket, its encrypted ID to the recipient's inboxes, the receipts into the index. */
import { receiptKeysOf } from './card.js';
import type { Contacts } from './contacts.js';
import { checkContent, encrypt, signEnvelope } from './ecies.js';
import type { Content } from './ecies.js';
import { Refused, Unreachable } from './errors.js';
import type { InboxError } from './errors.js';
import type { Indexes } from './indexes.js';
import type { Delivered, Delivery, Proof, Requested, SendReport } from './delivery.js';
import type { Inbox } from './inbox.js';
import { PublicKey } from './keys.js';
import type { AppKey } from './keys.js';
import { toHex } from './bytes.js';
import type { Settled } from './options.js';
import { Outbox } from './outbox.js';
import type { Own } from './own.js';
import { idOf } from './pages.js';
import { encryptPointer } from './pointer.js';
import type { Recipients } from './recipients.js';
import { Sealing } from './sealing.js';
import type { State } from './state.js';
import { parseObject } from './tokens.js';
import type { UnixTime } from './tokens.js';

const NOT_OFFERED = "The server does not say now that it gives receipts, although the recipient's card has its key.";
const DAY_SECONDS = 86_400;
const USUAL_LIFE_SECONDS = 30 * DAY_SECONDS; // for the index, until a server says how long it keeps a message

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

export interface SendOptions {
  /** How long it matters, if not long. */
  ttlSeconds?: number | undefined;
  /** It may be signed although earlier messages to this recipient went sealed: the server then learns who wrote. */
  maySign?: boolean | undefined;
}

export class Sending {
  readonly outbox: Outbox;
  readonly #sealing: Sealing;
  readonly #what: SendingOptions;

  constructor(what: SendingOptions) {
    this.#what = what;
    const { own, state, options, recipients } = what;
    const cardOf = (recipient: string, to?: string) => recipients.cardOf(recipient, to);
    this.#sealing = new Sealing({ ...what, cardOf, isOn: options.sealed });
    this.outbox = new Outbox({
      ...{ state, random: options.random, clock: () => own.now(), askTime: () => own.askTime() },
      deliver: (inbox, delivery) => this.#deliver(inbox, delivery),
      cardOf,
      index: (delivery, stored) => this.#toIndex(delivery, stored),
    });
  }

  /** See `InboxClient.send`. */
  async send(recipient: string, content: Content, { ttlSeconds, maySign = false }: SendOptions): Promise<SendReport> {
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
    const said = card instanceof Unreachable ? { keys: {} } : { keys: receiptKeysOf(card), ...(card.sealed ? { sealed: card.sealed } : {}) };
    const { isMutual } = await contacts.standing(to);
    const proof = { ...slot, expires: now + (ttlSeconds ?? USUAL_LIFE_SECONDS), ...said, isMutual };
    await contacts.meet(to, recipient === to.address ? to.hex : recipient, now, 'sent');
    if (maySign) await this.#mayBeSigned(to);
    return this.outbox.send({ id, recipient, body, proof }, card instanceof Unreachable ? card : card.inboxes);
  }

  /** See `InboxClient.sign`. */
  async sign(id: string): Promise<SendReport | undefined> {
    const waits = (await this.outbox.waiting()).find((each) => each.id === id);
    if (waits?.proof) await this.#mayBeSigned(PublicKey.parse(waits.proof.to));
    return waits && this.outbox.retryNow(id);
  }

  async #mayBeSigned(to: PublicKey): Promise<void> {
    await this.#what.contacts.seal(to, false);
    await this.outbox.letGo(to.hex);
  }

  /** Sealed where both have spoken, else signed. Once it went sealed, it is never signed by itself. */
  async #deliver(inbox: string, delivery: Delivery): Promise<Delivered> {
    const { own, identity: sender, contacts } = this.#what;
    const { body, proof } = delivery;
    const server = own.server(inbox);
    const asked = await this.#receiptFor(server, proof);
    const request = { recipient: delivery.recipient, ...asked };
    const lacks = !asked.receipt && proof?.keys[inbox] !== undefined ? { unsigned: NOT_OFFERED } : {};
    let way = await this.#sealing.way(delivery);
    if (way === 'sealed' && isProven(delivery)) {
      try {
        return { ...(await this.#sealing.deliver(server, delivery, request)), ...lacks, way };
      } catch (problem) {
        const { isSealed } = await contacts.standing(PublicKey.parse(delivery.proof.to));
        if (isSealed || !(problem instanceof Refused && /^(not_accepted|no_tickets)$/.test(problem.code))) throw problem;
        way = 'signed, first contact'; // the recipient has no tickets for this pair yet
      }
    }
    return { ...(await server.deliver(body, { ...request, sender })), ...lacks, way };
  }

  /** A receipt is asked for where the card has a key for it, and the server has the feature. */
  async #receiptFor(server: Inbox, proof: Proof | undefined): Promise<Pick<Requested, 'receipt'>> {
    const key = proof?.keys[server.url];
    if (!proof || key === undefined) return {};
    const isGiven = await server.hasFeature('receipts').catch((error: unknown) => {
      if (!(error instanceof Unreachable)) throw error;
      return false; // a server that cannot say is only asked to deliver
    });
    return isGiven ? { receipt: { key, address: PublicKey.parse(proof.to).address } } : {};
  }

  async #toIndex({ id, body, proof }: Delivery & { proof: Proof }, stored: SendReport['stored']): Promise<InboxError | undefined> {
    const { message_id, ttl = USUAL_LIFE_SECONDS } = parseObject(body);
    const latest = Math.max(...stored.map(({ expires }) => expires), 0);
    // A server that cuts a life of days short must not make the recipient take the message for expired.
    const life = Math.min(Number(ttl), USUAL_LIFE_SECONDS);
    const expires = life >= DAY_SECONDS ? Math.max(latest, endOfDay(proof.expires - Number(ttl) + life)) : latest || proof.expires;
    const signed = stored.flatMap(({ inbox, signed, expires: until }) => {
      return signed ? [[inbox, { ...signed, expires: until }]] : [];
    });
    const entry = idOf(String(message_id));
    return this.#what.indexes.put(proof, { n: proof.n, id, entry, expires, receipts: Object.fromEntries(signed) });
  }
}

function endOfDay(time: UnixTime): UnixTime {
  return Math.floor(time / DAY_SECONDS) * DAY_SECONDS + DAY_SECONDS - 1;
}

function isProven(delivery: Delivery): delivery is Delivery & { proof: Proof } {
  return delivery.proof !== undefined;
}
