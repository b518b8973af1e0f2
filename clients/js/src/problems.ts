/** What an inbox server refused, and what is no answer of one. */
import { fromUtf8 } from './bytes.js';
import { Refused, Unreachable } from './errors.js';
import { hostOf, readBody } from './requests.js';
import { parseObject } from './tokens.js';
import { LONGEST_WAIT_SECONDS } from './waits.js';

const PROBLEM = 'application/problem+json';

/** Only a refusal of this protocol is one: what a proxy says, or a page to sign in on some network, is not the server's. */
export async function readProblem(response: Response, url: string, maxBytes: number): Promise<Refused> {
  const after = Number(response.headers.get('Retry-After') ?? Number.NaN);
  const retryAfterSeconds = after >= 0 ? Math.min(Math.ceil(after), LONGEST_WAIT_SECONDS) : undefined;
  const body = await readBody(response, maxBytes);
  try {
    const problem = typeOf(response) === PROBLEM ? parseObject(fromUtf8(body)) : {};
    if (typeof problem.code === 'string') return new Refused(response.status, problem, retryAfterSeconds);
  } catch {
    // not JSON: as below
  }
  throw notTheProtocol(url, `with ${response.status}`);
}

export function typeOf(response: Response): string | undefined {
  return response.headers.get('Content-Type')?.split(';')[0]?.trim().toLowerCase();
}

export function notTheProtocol(url: string, how: string): Unreachable {
  return new Unreachable(`${hostOf(url)} answered ${how}, not as an inbox server does.`);
}
