/** A client that dies at the n-th thing it does: before a request, after its answer, before a write, or right after it. */
import { InboxClient, MemoryStorage } from '../../clients/js/dist/index.js';

/** What a dead program waits for. */
const NEVER = new Promise(() => undefined);

export class Device {
  storage = new MemoryStorage();
  #options;

  constructor(options) {
    this.#options = options;
  }

  /** The app, started anew on this device. `died` resolves when it was cut off; `seen` counts what it passed by. */
  start({ at = 0, where = '', fetch = globalThis.fetch, ...more } = {}) {
    const life = { seen: 0, isDead: false };
    life.died = new Promise((resolve) => (life.die = resolve));
    const passBy = (place) => {
      if (!life.isDead && place === where && ++life.seen === at) life.die((life.isDead = true));
      return life.isDead ? NEVER : undefined;
    };
    const writing = async (write) => {
      await passBy('before writing');
      write();
      await passBy('after writing');
    };
    life.client = new InboxClient({
      ...this.#options,
      sleep: () => new Promise((resolve) => setTimeout(resolve, 5)),
      ...more,
      storage: {
        getItem: async (key) => this.storage.getItem(key),
        setItem: (key, value) => writing(() => this.storage.setItem(key, value)),
        removeItem: (key) => writing(() => this.storage.removeItem(key)),
      },
      fetch: async (...what) => {
        await passBy('request');
        const response = await fetch(...what);
        await passBy('answer');
        return response;
      },
    });
    return life;
  }
}

export async function steps(move) {
  const told = [];
  for await (const step of move) told.push(step);
  return told;
}

/** What is unread, as messages; every inbox must have answered. */
export async function texts(client) {
  const { entries, problems } = await client.unread();
  if (problems.length > 0) throw problems[0].problem;
  return (await Promise.all(entries.map(async (entry) => (await client.fetch(entry)).content))).sort();
}
