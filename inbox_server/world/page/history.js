/**
 * What was said, as this browser remembers it: servers forget what is read, and a sender cannot decrypt their own messages.
 *
 * It lies in `localStorage`, so that a reload and other windows of the same person show the same. A real app would
 * rather keep it in the person's bucket, encrypted.
 */

const MOST = 400; // the oldest go first
const PREFIX = 'inbox-page:';

export class History extends EventTarget {
  #name;

  constructor(address) {
    super();
    this.#name = `${PREFIX}${address}`;
    addEventListener('storage', ({ key }) => {
      if (key === this.#name) this.dispatchEvent(new Event('change'));
    });
  }

  /** In the order in which they came to this browser. */
  all() {
    return JSON.parse(localStorage.getItem(this.#name) ?? '[]');
  }

  find(matches) {
    return this.all().find(matches);
  }

  /** Read anew each time, for another window may have written meanwhile. */
  put(message) {
    const kept = this.all().filter(({ key }) => key !== message.key);
    const before = this.find(({ key }) => key === message.key);
    this.#write([...kept, { at: Date.now(), ...before, ...message }]);
  }

  update(matches, change) {
    const all = this.all();
    const changed = all.filter(matches);
    if (changed.length === 0) return;
    for (const message of changed) Object.assign(message, change);
    this.#write(all);
  }

  remove(gone) {
    this.#write(this.all().filter(({ key }) => key !== gone));
  }

  #write(messages) {
    messages.sort((one, other) => one.at - other.at);
    localStorage.setItem(this.#name, JSON.stringify(messages.slice(-MOST)));
    this.dispatchEvent(new Event('change'));
  }
}

/** Worlds come and go at the same URL, each with people of its own: what belongs to none of these is forgotten. */
export function forgetOthers(addresses) {
  for (const key of Object.keys(localStorage)) {
    const address = /^(?:inbox-page|message-inbox):([^:]+)/.exec(key)?.[1];
    if (address && !addresses.includes(address)) localStorage.removeItem(key);
  }
}
