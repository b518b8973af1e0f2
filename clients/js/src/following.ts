/** Which inboxes a `watch` follows: those on the card, and one that is being moved away from; they change while it runs. */
import type { Inbox } from './inbox.js';
import type { Own } from './own.js';

export class Following {
  readonly #own: Own;
  readonly #follow: (inbox: Inbox) => Promise<void>;
  readonly #signal: AbortSignal;
  readonly #followed = new Set<Inbox>();
  /** An inbox that was left for others, but is still named by an interrupted move. */
  readonly #gone = new Set<Inbox>();

  /** `follow` ends when `signal` aborts, or when the inbox is gone and the card does not name it any more. */
  constructor(own: Own, follow: (inbox: Inbox) => Promise<void>, signal: AbortSignal) {
    this.#own = own;
    this.#follow = follow;
    this.#signal = signal;
  }

  /** Follow every inbox that is not followed yet; ends when all of them have ended. */
  async look(): Promise<void> {
    for (const inbox of await this.#own.inboxes()) this.#gone.delete(inbox);
    const sources = await this.#own.sources();
    await Promise.all(sources.filter((inbox) => !this.#followed.has(inbox) && !this.#gone.has(inbox)).map((inbox) => this.#begin(inbox)));
  }

  async #begin(inbox: Inbox): Promise<void> {
    this.#followed.add(inbox);
    await this.#follow(inbox);
    this.#followed.delete(inbox);
    this.#gone.add(inbox);
    if (!this.#signal.aborted) await this.look();
  }
}
