/** The sender's side of sealed delivery: which way a delivery goes, and which ticket it takes. */
import type { Card } from './card.js';
import type { Contacts } from './contacts.js';
import { InboxError, Refused } from './errors.js';
import type { Delivery, Proof, Receipt, Requested } from './delivery.js';
import type { Inbox } from './inbox.js';
import { PublicKey } from './keys.js';
import type { AppKey } from './keys.js';
import type { Own } from './own.js';
import { weekOf } from './pairs.js';
import type { State } from './state.js';
import { seedOf, ticketOf } from './tickets.js';
import type { Sealed } from './tickets.js';
import { parseObject } from './tokens.js';

/** The server does not learn who sends; or it does: because the recipient could not give tickets yet, or for another reason. */
export type Way = 'sealed' | 'signed, first contact' | 'signed';
/** The ticket that a delivery took at an inbox: a repeat takes the same one. */
export interface Taken {
  week: number;
  edition: number;
  number: number;
}

export interface SealingOptions {
  key: AppKey;
  state: State;
  contacts: Contacts;
  own: Own;
  /** What the recipient's card says now. */
  cardOf: (recipient: string) => Promise<Card>;
  /** Whether the app has sealed delivery on. */
  isOn: boolean;
}

const LEAST_TTL = 10; // seconds: what a server takes
const OLD_WEEKS = 1; // counters of the last week are kept, for servers whose clock is behind
const AGAIN_SECONDS = 600; // after a ticket that was not accepted: the recipient may just be sending other sheets
const LONGEST_SECONDS = 6 * 3600;
const WAIT_SECONDS = 3600;
const TAKES_NONE = 'bad_token'; // to a server without tickets, one is no token that it knows
const NO_CLAIM = "The recipient's inbox card does not offer sealed delivery any more.";

export class Sealing {
  readonly #what: SealingOptions;

  constructor(what: SealingOptions) {
    this.#what = what;
  }

  /** Throws `Refused` (`no_tickets`) where it must go sealed, and the card has no tickets. */
  async way(delivery: Delivery): Promise<Way> {
    const { proof } = delivery;
    if (!this.#what.isOn || !proof) return 'signed';
    const { isSealed } = await this.#what.contacts.standing(PublicKey.parse(proof.to));
    if (proof.sealed) return isSealed || proof.isMutual ? 'sealed' : 'signed, first contact';
    if (!isSealed) return 'signed';
    throw noTickets(delivery, NO_CLAIM);
  }

  /** Throws `Refused` or `Unreachable`; with `no_tickets` where it may go sealed later, and not signed. */
  async deliver(server: Inbox, delivery: Delivery & { proof: Proof }, request: Requested): Promise<Receipt> {
    const { own, contacts } = this.#what;
    const to = PublicKey.parse(delivery.proof.to);
    const timed = () => weekOf(server.stated ?? own.now());
    let [week, isLookedUp] = [timed(), false];
    for (;;) {
      const { sealed } = delivery.proof;
      if (!sealed) throw noTickets(delivery, NO_CLAIM);
      const taken = await this.#take(delivery, server, { week, sealed });
      const seed = seedOf(this.#what.key, this.#what.key.public.hex, to.hex, { origin: server.url, week, edition: taken.edition });
      try {
        const receipt = await server.deliverSealed(this.#bodyOf(delivery, to), ticketOf(seed, taken.number), request);
        await contacts.seal(to, true);
        return receipt;
      } catch (problem) {
        if (!(problem instanceof Refused)) throw problem;
        if (problem.code === TAKES_NONE) throw noTickets(delivery, 'The server takes no tickets any more.');
        if (problem.code === 'ticket_spent') delete delivery.tickets?.[server.url];
        else if (problem.code !== 'not_accepted') throw problem;
        else if (timed() !== week) week = timed();
        else if (isLookedUp || !(await this.#isOtherEdition(delivery, server))) throw noTickets(delivery, 'No ticket is accepted. The recipient may just be changing them.', this.#pause(delivery, server));
        else isLookedUp = true;
      }
    }
  }

  /** `to` instead of a sender; and what is left of its life, which no token's time says. */
  #bodyOf({ body, begunAt }: Delivery, to: PublicKey): string {
    const { message_id, ttl } = parseObject(body);
    const age = Math.max(0, this.#what.own.now() - begunAt);
    if (ttl === undefined || Number(ttl) - age > 0) {
      return JSON.stringify({ message_id, to: to.address, ...(ttl === undefined ? {} : { ttl: Math.max(LEAST_TTL, Number(ttl) - age) }) });
    }
    throw new Refused(0, { code: 'ttl_passed', detail: 'Its time was over before it could be delivered.' });
  }

  /** The one that it took before, or the next that was not used here. Each tab of this storage takes another. */
  async #take(delivery: Delivery, { url }: Inbox, { week, sealed }: { week: number; sealed: Sealed }): Promise<Taken> {
    const before = delivery.tickets?.[url];
    const { per, edition } = sealed;
    if (before?.week === week && before.edition === edition) return before;
    let number = 0;
    await this.#what.state.change<number>('tickets', (next) => {
      for (const name of Object.keys(next)) if (Number.parseInt(name) < week - OLD_WEEKS) delete next[name];
      const name = `${week} ${edition} ${url} ${delivery.proof?.to}`;
      number = next[name] ?? 0;
      if (number < per) next[name] = number + 1;
    });
    if (number >= per) throw noTickets(delivery, `All ${per} tickets for this recipient and this week are used.`);
    const taken = { week, edition, number };
    delivery.tickets = { ...delivery.tickets, [url]: taken };
    return taken;
  }

  /** Whether the recipient has changed the sheets since the card was read, and still has this inbox. */
  async #isOtherEdition(delivery: Delivery & { proof: Proof }, { url }: Inbox): Promise<boolean> {
    try {
      const { inboxes, sealed } = await this.#what.cardOf(delivery.recipient);
      const isOther = sealed?.edition !== delivery.proof.sealed?.edition;
      if (sealed) delivery.proof.sealed = sealed;
      else delete delivery.proof.sealed;
      return isOther && inboxes.includes(url);
    } catch (error) {
      if (!(error instanceof InboxError)) throw error;
      return false;
    }
  }

  /** Some minutes, and later longer. */
  #pause({ waiting }: Delivery, { url }: Inbox): number {
    return Math.min(AGAIN_SECONDS * 2 ** (waiting[url]?.tries ?? 0), LONGEST_SECONDS);
  }
}

/** It waits, and the card is read again before the next try. */
function noTickets(delivery: Delivery, why: string, retryAfterSeconds = WAIT_SECONDS): Refused {
  delivery.lookedUpAt = 0;
  const detail = `${why} Nothing was signed, because earlier messages went sealed. Sign it if the server may learn that you wrote.`;
  return new Refused(0, { code: 'no_tickets', detail }, retryAfterSeconds);
}
