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
  /** What the storage did not take, by table. */
  readonly #unsaved = new Map<string, Map<string, unknown>>();
  #turn: Promise<unknown> = Promise.resolve();

  /** `prefix` keeps identities apart that share a storage. */
  constructor(storage: InboxStorage, prefix: string) {
    this.#storage = storage;
    this.#prefix = prefix;
  }

  async read<T>(name: string): Promise<Table<T>> {
    return this.#withUnsaved(name, parse<T>(await this.#storage.getItem(this.#prefix + name)));
  }

  /**
   * Changes take turns, so that none is lost; with a storage that answers at once, neither is another page's, for
   * nothing is awaited between reading and writing. False when the storage did not take it, because it is full: then it
   * holds for as long as this page lives, and is stored with the next change that fits.
   */
  change<T>(name: string, change: (table: Table<T>) => void): Promise<boolean> {
    const key = this.#prefix + name;
    const turn = this.#turn.then(async () => {
      const answer = this.#storage.getItem(key);
      const stored = answer instanceof Promise ? await answer : answer;
      const table = this.#withUnsaved(name, parse<T>(stored));
      change(table);
      const isEmpty = Object.keys(table).length === 0;
      try {
        await (isEmpty ? this.#storage.removeItem(key) : this.#storage.setItem(key, JSON.stringify(table)));
        return this.#unsaved.delete(name) || true;
      } catch {
        this.#unsaved.set(name, differences(parse(stored), table));
        return false;
      }
    });
    this.#turn = turn.catch(() => undefined); // a change that fails does not stop the next
    return turn;
  }

  #withUnsaved<T>(name: string, table: Table<T>): Table<T> {
    for (const [key, value] of this.#unsaved.get(name) ?? []) {
      if (value === undefined) delete table[key];
      else table[key] = structuredClone(value) as T;
    }
    return table;
  }
}

/** Entry by entry, so that changes by another page are kept. Undefined means that the entry was removed. */
function differences(before: Table<unknown>, after: Table<unknown>): Map<string, unknown> {
  const keys = new Set([...Object.keys(before), ...Object.keys(after)]);
  const isChanged = (key: string) => JSON.stringify(before[key]) !== JSON.stringify(after[key]);
  return new Map([...keys].filter(isChanged).map((key) => [key, structuredClone(after[key])]));
}

/** Names come from others and may be `__proto__`, so the table has no prototype. */
function parse<T>(text: string | null): Table<T> {
  return Object.assign(Object.create(null), text === null ? {} : JSON.parse(text)) as Table<T>;
}
