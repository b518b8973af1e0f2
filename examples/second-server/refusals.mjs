// Refusals, docs/protocol.md#refusals
const TABLE = { // code: [status, title, seconds of Retry-After]
  bad_request: [400, 'The request does not follow the protocol'],
  bad_cursor: [400, 'That is not a cursor of this server'],
  no_token: [401, 'A bearer token is required'],
  bad_token: [401, 'The token breaks a rule'],
  gaia_token: [401, 'That is a Gaia hub token, which can write to a bucket'],
  not_accepted: [403, 'The delivery is not accepted'],
  name_unproven: [403, 'The name does not lead to the key'],
  not_registered: [403, 'This server does not accept that inbox'],
  not_found: [404, 'There is nothing at this path'],
  no_inbox: [404, 'No inbox has been claimed with this key'],
  wrong_method: [405, 'The path does not allow this method'],
  too_slow: [408, 'The request took too long to arrive'],
  stale_token: [409, 'A later settings token has already been used'],
  cursor_gone: [410, 'The changes since this cursor are no longer kept'],
  too_large: [413, 'The request body is too large'],
  wrong_host: [421, 'This server does not answer for that host'],
  ttl_passed: [422, 'The time to live ended before the delivery arrived'],
  too_many: [429, 'Too many requests for now', 20],
  internal: [500, 'The server failed'],
  names_unavailable: [503, 'A name cannot be looked up right now', 45],
  stopping: [503, 'The server is stopping', 5],
  inbox_full: [507, 'The inbox is full', 600],
  storage_full: [507, 'The server cannot write right now', 60],
}

export class Refusal extends Error {
  /** `detail` is for people; `more` may be the `member` that is wrong, or the server's time as `now`. */
  constructor(code, detail = `${TABLE[code][1]}.`, more = {}) {
    super(detail)
    const [status, title, retryAfter] = TABLE[code]
    this.code = code
    const headers = { 'Content-Type': 'application/problem+json' }
    if (status === 401) headers['WWW-Authenticate'] = 'Bearer'
    if (retryAfter) headers['Retry-After'] = String(retryAfter)
    this.answer = { status, headers, content: { status, code, title, detail, ...more } }
  }
}

export function refuse(code, detail, more) {
  throw new Refusal(code, detail, more)
}

/** What is not a refusal is a fault of this server. */
export function asRefusal(error) {
  if (error instanceof Refusal) return error
  console.error(error)
  return new Refusal('internal')
}
