/** What outlives a page: the outbox, acknowledgements to repeat, cursors, and the highest `seq` of each card. */

/** `localStorage` fits, and so does anything asynchronous with these three methods. */
export interface InboxStorage {
  getItem(key: string): string | null | Promise<string | null>;
  setItem(key: string, value: string): unknown;
  removeItem(key: string): unknown;
}

/** Gone with the page: for tests, and for apps that read everything anew. */
export class MemoryStorage implements InboxStorage {
  readonly #values = new Map<string, string>();

  getItem(key: string): string | null {
    return this.#values.get(key) ?? null;
  }

  setItem(key: string, value: string): void {
    this.#values.set(key, value);
  }

  removeItem(key: string): void {
    this.#values.delete(key);
  }
}

/** A record with a value for each of some names: inboxes, addresses, messages. */
export type Table<T> = Record<string, T>;

export class State {
  readonly #storage: InboxStorage;
  readonly #prefix: string;
  #turn: Promise<unknown> = Promise.resolve();

  /** `prefix` keeps identities apart that share a storage. */
  constructor(storage: InboxStorage, prefix: string) {
    this.#storage = storage;
    this.#prefix = prefix;
  }

  async read<T>(name: string): Promise<Table<T>> {
    return parse(await this.#storage.getItem(this.#prefix + name));
  }

  /**
   * Changes take turns, so that none is lost; with a storage that answers at once, neither is another page's, for
   * nothing is awaited between reading and writing.
   */
  change<T>(name: string, change: (table: Table<T>) => void): Promise<void> {
    const key = this.#prefix + name;
    const turn = this.#turn.then(async () => {
      const stored = this.#storage.getItem(key);
      const table = parse<T>(stored instanceof Promise ? await stored : stored);
      change(table);
      const isEmpty = Object.keys(table).length === 0;
      await (isEmpty ? this.#storage.removeItem(key) : this.#storage.setItem(key, JSON.stringify(table)));
    });
    this.#turn = turn.catch(() => undefined); // a full storage fails this change, which is told, and not the next
    return turn;
  }
}

/** Names come from others (`__proto__`), so the table has no prototype. */
function parse<T>(text: string | null): Table<T> {
  return Object.assign(Object.create(null), text === null ? {} : JSON.parse(text)) as Table<T>;
}
