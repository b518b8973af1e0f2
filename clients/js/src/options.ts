/** What an app says about its user, and what it may replace. */
import type { Random } from './ecies.js';
import { isOrigin, parseIdentity } from './identities.js';
import type { Fetch } from './requests.js';
import { MemoryStorage } from './state.js';
import type { InboxStorage } from './state.js';
import type { UnixTime } from './tokens.js';
import { monotonic, sleepFor } from './waits.js';
import type { Sleep, Ticks } from './waits.js';

export interface InboxClientOptions {
  /** The app private key in hex, as the wallet gave it: 64 characters, or 66 that end with 01. */
  privateKey: string;
  /** The app's origin, such as https://chat.example. */
  app: string;
  /** The user's BNS name; without one the key is who they are. */
  name?: string;
  /** The write URL of the user's Gaia hub. Needed to publish and to send. */
  hub?: string;
  /** For a private hub: a token about the app key, signed by the wallet's identity key. It is sent to the hub only. */
  associationToken?: string;
  /** Name services in the shape of the Stacks API, asked in this order. Needed where others have names. */
  names?: readonly string[];
  /** Ask all name services, and trust them only when they name one owner. */
  agreement?: boolean;
  /** Read prefixes of hubs, such as https://gaia.example/hub/, where the buckets of people without names lie. */
  prefixes?: readonly string[];
  /** The user's inboxes, one to three. Without it, those on the user's own card are used. */
  inboxes?: readonly string[];
  /**
   * Whether contacts with whom both sides have spoken deliver, and are delivered to, without the server learning who
   * writes; true by default.
   */
  sealed?: boolean;
  /** `localStorage`, or anything with its three methods. Without it, everything is forgotten when the page closes. */
  storage?: InboxStorage;
  fetch?: Fetch;
  /** Seconds since 1970. */
  clock?: () => UnixTime;
  /** Seconds that only go forward, by which waits are counted. */
  ticks?: Ticks;
  random?: Random;
  sleep?: Sleep;
  /** How long an inbox may say nothing while it is watched. Servers say something every 45 seconds. */
  silenceSeconds?: number;
}

export interface Settled {
  app: string;
  name: string | undefined;
  hub: string | undefined;
  associationToken: string | undefined;
  names: string[];
  agreement: boolean;
  prefixes: string[];
  sealed: boolean;
  storage: InboxStorage;
  fetch: Fetch;
  clock: () => UnixTime;
  ticks: Ticks;
  random: Random;
  sleep: Sleep;
  silenceSeconds: number;
}

/** Throws `TypeError`. */
export function readOptions(options: InboxClientOptions): Settled {
  const { app, name, hub, names = [], agreement = false, prefixes = [], storage = new MemoryStorage() } = options;
  if (!isOrigin(app)) throw new TypeError('`app` must be an origin such as https://chat.example, without a slash at the end.');
  if (name !== undefined && parseIdentity(name).kind !== 'name') throw new TypeError('`name` must be a name such as alice.id.');
  return {
    app,
    name,
    hub: hub?.replace(/\/+$/, ''),
    associationToken: options.associationToken,
    names: names.map((service) => service.replace(/\/+$/, '')),
    agreement,
    prefixes: prefixes.map((prefix) => (prefix.endsWith('/') ? prefix : `${prefix}/`)),
    sealed: options.sealed ?? true,
    storage,
    fetch: options.fetch ?? ((...what) => globalThis.fetch(...what)), // browsers want it called on the window
    clock: options.clock ?? (() => Math.floor(Date.now() / 1000)),
    ticks: options.ticks ?? monotonic,
    random: options.random ?? ((length) => crypto.getRandomValues(new Uint8Array(length))),
    sleep: options.sleep ?? sleepFor,
    silenceSeconds: options.silenceSeconds ?? 100,
  };
}
