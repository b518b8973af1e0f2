/** Whom deliveries go to: a recipient's key and inboxes, both checked against the address of the bucket. */
import type { Card } from './card.js';
import { BadCard, InboxError, KeyChanged, Unreachable } from './errors.js';
import { parseIdentity } from './identities.js';
import type { PublicKey } from './keys.js';
import type { Lapses } from './lapses.js';
import type { Bucket, LookUps } from './lookups.js';
import type { SeenCards } from './seen.js';

export interface Recipient {
  key: PublicKey;
  /** Or why it cannot be read at the moment. */
  card: Card | Unreachable;
}

export class Recipients {
  readonly #lookUps: LookUps;
  readonly #seen: SeenCards;
  readonly #lapses: Lapses;
  /** Look-ups that are under way: one for all that waits for a recipient. */
  readonly #looking = new Map<string, Promise<{ hex: string; card: Card }>>();

  constructor(lookUps: LookUps, seen: SeenCards, lapses: Lapses) {
    this.#lookUps = lookUps;
    this.#seen = seen;
    this.#lapses = lapses;
  }

  /** For a message. Throws `NotProven`, `BadCard` or `Unreachable` where there is nobody to encrypt to. */
  find(recipient: string): Promise<Recipient> {
    parseIdentity(recipient);
    return this.#lapses.during(`to ${recipient}`, async () => {
      const bucket = await this.#lookUps.bucket(recipient);
      const reading = this.#card(bucket).catch((error: unknown) => error as InboxError);
      const [key, card] = [await this.#lookUps.key(bucket), await reading];
      if (!(card instanceof InboxError) || card instanceof Unreachable) return { key, card };
      // Somebody who had a card has at most moved, so a missing card is temporary.
      const isLapse = card instanceof BadCard && card.isForNow && (await this.#seen.highest(bucket.address)) > 0;
      if (isLapse) return { key, card: new Unreachable(card.message, { cause: card }) };
      throw card;
    });
  }

  /** What the card says now, for a delivery that waits and is encrypted to `to`. Throws as `find`, and `KeyChanged`. */
  async cardOf(recipient: string, to?: string): Promise<Card> {
    const looking = this.#looking.get(recipient) ?? this.#look(recipient).finally(() => this.#looking.delete(recipient));
    this.#looking.set(recipient, looking);
    const { hex, card } = await looking;
    if (to !== undefined && to !== hex) throw new KeyChanged('The recipient has a new key: send it again.');
    return card;
  }

  #look(recipient: string): Promise<{ hex: string; card: Card }> {
    return this.#lapses.during(`to ${recipient}`, async () => {
      const bucket = await this.#lookUps.bucket(recipient, { fresh: true });
      const { hex } = await this.#lookUps.key(bucket);
      return { hex, card: await this.#card(bucket) };
    });
  }

  async #card(bucket: Bucket): Promise<Card> {
    const card = await this.#lookUps.card(bucket);
    if (card.seq < (await this.#seen.highest(bucket.address))) {
      throw new BadCard('The inbox card is older than one seen before: its host shows an old copy.');
    }
    await this.#seen.see(bucket.address, card.seq);
    return card;
  }
}
