/** For a settings page: whether the URL that a person typed leads to an inbox server, and in words what is wrong. */
import { fromUtf8 } from './bytes.js';
import { Unreachable } from './errors.js';
import { isOrigin } from './identities.js';
import { hostOf, readBody, request } from './requests.js';
import type { Fetch } from './requests.js';
import { parseObject } from './tokens.js';
import type { UnixTime } from './tokens.js';

/** The document at `/.well-known/message-inbox`. Servers may have more members. */
export interface Capabilities {
  protocol: 'message-inbox';
  version: number;
  origin: string;
  registration: 'listed' | 'invite' | 'open';
  limits: Record<string, number>;
  /** The key to subscribe browsers with. */
  push?: { vapid_key: string };
  /** The bot to start a direct chat with, where there is one. */
  matrix?: { user_id: string };
  /** The limits of an owner's own URL, where one can be told. */
  webhook?: { url_characters: number; authorization_characters: number };
  /** The key that it signs receipts and the heads of logs with, where it does. */
  receipts?: { key: string };
  /** What it supports beyond the first version 1. */
  features?: string[];
  software: string;
}

export interface Checked {
  /** Nothing is wrong: this inbox may be put on the card. */
  ok: boolean;
  /** The server's origin: store this, not what the person typed. Undefined when no server was found. */
  origin: string | undefined;
  /** The part of the typed address that is ignored, such as a path: show it to the person. */
  dropped?: string;
  /** Sentences for the person; none when it is ok. */
  problems: string[];
  capabilities: Capabilities | undefined;
}

export interface CheckOptions {
  fetch?: Fetch;
  clock?: () => UnixTime;
}

const MAX_DOCUMENT_BYTES = 64 * 1024;
const DEFAULT_SKEW_SECONDS = 60;
const VERSION = 1;
const WRONG_HOST = 421;

export async function check(url: string, options: CheckOptions = {}): Promise<Checked> {
  const dropped = droppedFrom(url);
  return { ...(await checkOrigin(url, options)), ...(dropped === '' ? {} : { dropped }) };
}

async function checkOrigin(url: string, options: CheckOptions): Promise<Checked> {
  const fetch = options.fetch ?? ((...what) => globalThis.fetch(...what));
  const clock = options.clock ?? (() => Math.floor(Date.now() / 1000));
  const typed = readTyped(url);
  if (typed === undefined) return failed('That is not a web address. It should look like https://inbox.example');
  try {
    const response = await request(fetch, `${typed}/.well-known/message-inbox`);
    const capabilities = await readCapabilities(response);
    if (response.status === WRONG_HOST) return failed(`A server is at ${typed}, but it answers for another address. Which?`);
    if (!capabilities) return failed(`${typed} answers (${response.status}), but not as an inbox server does.`);
    const { origin } = capabilities;
    const problems = [...describe(capabilities, typed), ...describeClock(response, capabilities, clock())];
    if (problems.length === 0) problems.push(...(await tryToken(fetch, origin)));
    return { ok: problems.length === 0, origin, problems, capabilities };
  } catch (error) {
    if (!(error instanceof Unreachable)) throw error;
    return failed(await whyUnreachable(fetch, typed));
  }
}

/** The capability document of a server. Throws `Unreachable` if there is none, or if it names another origin. */
export async function askCapabilities(fetch: Fetch, origin: string): Promise<Capabilities> {
  const capabilities = await readCapabilities(await request(fetch, `${origin}/.well-known/message-inbox`));
  if (capabilities?.origin === origin) return capabilities;
  throw new Unreachable(`${origin} does not answer as an inbox server of that address does.`);
}

/** The same whatever origin it names. Do not use a feature that is not among its `features`. Throws `Unreachable`. */
export async function capabilitiesOf(fetch: Fetch, url: string): Promise<Capabilities> {
  const response = await request(fetch, `${url}/.well-known/message-inbox`);
  const capabilities = await readCapabilities(response);
  if (capabilities) return capabilities;
  throw new Unreachable(`${hostOf(url)} answers (${response.status}), but not as an inbox server does.`);
}

/** The origin in what a person typed: with or without a scheme, a path, a slash at the end. */
function readTyped(text: string): string | undefined {
  const { origin } = parseTyped(text) ?? {};
  return isOrigin(origin) ? origin : undefined;
}

/** Name and password, path, query and fragment. */
function droppedFrom(text: string): string {
  const url = parseTyped(text);
  if (!url || !isOrigin(url.origin)) return '';
  const user = url.username + url.password === '' ? '' : `${url.username}:…@`;
  return user + (url.pathname === '/' ? '' : url.pathname) + url.search + url.hash;
}

function parseTyped(text: string): URL | undefined {
  const trimmed = text.trim();
  const whole = /^[a-z][a-z0-9+.-]*:\/\//i.test(trimmed) ? trimmed : `https://${trimmed}`;
  return URL.canParse(whole) ? new URL(whole) : undefined;
}

async function readCapabilities(response: Response): Promise<Capabilities | undefined> {
  const body = await readBody(response, MAX_DOCUMENT_BYTES);
  try {
    const document = parseObject(fromUtf8(body));
    const isOne = response.ok && document.protocol === 'message-inbox' && isOrigin(document.origin);
    return isOne ? (document as unknown as Capabilities) : undefined;
  } catch {
    return undefined; // not JSON: somebody else's page
  }
}

function describe({ origin, version }: Capabilities, typed: string): string[] {
  const problems: string[] = [];
  if (version !== VERSION) problems.push(`The server speaks version ${version} of the protocol, this app version ${VERSION}.`);
  if (origin !== typed) problems.push(`The server calls itself ${origin}. Use that address.`);
  return problems;
}

/** Servers refuse tokens whose time is not theirs; the header has whole seconds. */
function describeClock(response: Response, { limits }: Capabilities, now: UnixTime): string[] {
  const server = Date.parse(response.headers.get('Date') ?? '') / 1000;
  const ahead = Math.round(now - server);
  if (!(Math.abs(ahead) > (limits?.clock_skew_seconds ?? DEFAULT_SKEW_SECONDS))) return [];
  const way = ahead > 0 ? 'ahead of' : 'behind';
  return [`The clock of this device is ${Math.abs(ahead)} seconds ${way} the server's. Set one of them right.`];
}

/** A request as the client makes them: browsers ask first whether it may carry a token, and proxies may drop it. */
async function tryToken(fetch: Fetch, origin: string): Promise<string[]> {
  try {
    const response = await request(fetch, `${origin}/v1/messages`, { headers: { Authorization: 'Bearer only-a-test' } });
    const { code } = parseObject(fromUtf8(await readBody(response, MAX_DOCUMENT_BYTES)));
    if (code === 'bad_token') return [];
    if (code === 'no_token') return ['Something between this app and the server takes the Authorization header away.'];
    return [`The server answers ${response.status} where it should ask for a token.`];
  } catch {
    return ['The server can be read, but requests with a token do not get through: its proxy must let OPTIONS pass.'];
  }
}

/** A browser does not say whether nobody answered or the page may not read the answer; a `no-cors` request tells. */
async function whyUnreachable(fetch: Fetch, origin: string): Promise<string> {
  const page = (globalThis as { location?: { protocol?: string } }).location;
  if (page?.protocol === 'https:' && origin.startsWith('http:')) {
    return `This page is on https, so the browser does not let it reach ${origin}. The server needs https, too.`;
  }
  try {
    await fetch(origin, { mode: 'no-cors', cache: 'no-store', credentials: 'omit', signal: AbortSignal.timeout(10_000) });
  } catch {
    return `${origin} could not be reached. Is the address right, and the server running?`;
  }
  return `Something answers at ${origin}, but not as an inbox server, or it does not let web pages read it (CORS).`;
}

function failed(problem: string): Checked {
  return { ok: false, origin: undefined, problems: [problem], capabilities: undefined };
}
