// The routes of docs/protocol.md. Each takes {raw, path, query, body, response} and gives {status, content}.
import { createHash } from 'node:crypto'
import { addressOf, isAddress } from './keys.mjs'
import { events, held } from './readers.mjs'
import { Refusal, refuse } from './refusals.mjs'
import { isBase64Url, isList, isWhole, need, readBody, readCursor, readQuery, readWhole } from './requests.mjs'
import { LIMITS } from './limits.mjs'
import { bearer, checkToken, isKey, isName } from './tokens.mjs'

const RATES = { network: 3000, sender: 600, inbox: 1200 } // in a minute; the page leaves the figures to the operator
const ACCEPT = ['names', 'anyone', 'contacts', 'nobody']
const SETTINGS = ['retention', 'accept', 'contacts', 'blocked', 'names', 'invite']

const sha256 = (...pieces) => pieces.reduce((hash, piece) => hash.update(piece), createHash('sha256')).digest('base64url')

export function makeRoutes({ origin, now, store, names, readers, invites, anyKey, proxied }) {
  let counts = new Map()

  function count(kind, who) {
    const n = (counts.get(kind + who) ?? 0) + 1
    counts.set(kind + who, n)
    if (n > RATES[kind]) refuse('too_many')
  }

  function networkOf({ headers, socket }) {
    const address = (proxied && headers['x-forwarded-for']?.split(',').at(-1).trim()) || socket.remoteAddress || ''
    return address.includes('.') ? address : address.split(':').slice(0, 4).join(':') // IPv6: what one customer gets
  }

  /** An owner's token. The inbox is that of the key that signed it, and nothing else names one. */
  function owner({ raw, body }, scope) {
    const token = checkToken(bearer(raw.rawHeaders), { type: 'owner', scope, audience: origin, body, now: now() })
    const address = addressOf(token.iss)
    return { ...token, address, inbox: store.hash('inbox', address), request: sha256(raw.method, body) }
  }

  function capabilities() {
    const content = {
      protocol: 'message-inbox', version: 1, origin, registration: invites.length ? 'invite' : 'open', features: [],
      limits: LIMITS, software: 'second-server/1',
    }
    return { status: 200, headers: { 'Cache-Control': 'public, max-age=300' }, content }
  }

  // #the-order-of-a-delivery
  async function deliver({ raw, query, body }) {
    readQuery(query)
    const { message_id: text, ttl } = readBody(body, ['message_id', 'ttl'])
    need(typeof text === 'string' && /^[ -~]{1,1024}$/.test(text), 'message_id', 'message_id is 1 to 1,024 printable ASCII characters.')
    need(ttl === undefined || (typeof ttl === 'number' && ttl >= LIMITS.min_ttl_seconds), 'ttl', 'ttl is 10 seconds or more.')
    const token = checkToken(bearer(raw.rawHeaders), { type: 'deliver', audience: origin, body, now: now() })
    const { iss, sub, app } = token
    const key = token.signer ?? await names.signer(iss, app, token.isSignedBy)
    count('network', networkOf(raw))

    const inbox = isName(sub) ? store.inboxOfName(sub, app) : store.hash('inbox', isKey(sub) ? addressOf(sub) : sub)
    const sender = { app, address: addressOf(key), hasName: isName(iss) }
    if (!store.accepts(inbox, sender)) refuse('not_accepted')
    if (sender.hasName && token.signer) await names.prove(iss, app, address => address === sender.address)
    if (isName(sub)) await proveRecipient(sub, app, inbox)
    count('sender', inbox + sender.address)
    count('inbox', inbox)

    const id = sha256(text)
    try {
      const { isNew, expires } = store.deliver(inbox, sender, { id, text, ttl, iat: token.iat })
      return { status: isNew ? 201 : 200, content: { id, expires } }
    } finally {
      readers.change(inbox) // also when there was no room: then there is a notice
    }
  }

  async function proveRecipient(name, app, inbox) {
    try {
      await names.prove(name, app, address => store.hash('inbox', address) === inbox)
    } catch (error) {
      throw error.code === 'name_unproven' ? new Refusal('not_accepted') : error // not the sender's business
    }
  }

  async function list(request) {
    const { limit = '100', after, wait = '0' } = readQuery(request.query, 'limit', 'after', 'wait')
    const asked = {
      limit: readWhole(limit, 'limit', 1, LIMITS.max_page_entries),
      seconds: readWhole(wait, 'wait', 0, LIMITS.wait_seconds),
      after: readCursor(after, 'after'),
    }
    const { inbox, taken } = owner(request, 'read')
    if (asked.seconds === 0) return { status: 200, content: store.page(inbox, asked.after, asked.limit) }
    return { status: 200, content: await held({ store, readers, response: request.response, inbox, taken, asked }) }
  }

  async function follow(request) {
    const { limit = '100', closeafter } = readQuery(request.query, 'limit', 'closeafter')
    need(closeafter === undefined || closeafter === 'state', 'closeafter', 'closeafter is state.')
    const asked = {
      limit: Math.min(readWhole(limit, 'limit', 1, LIMITS.max_page_entries), 100),
      after: readCursor(request.raw.headers['last-event-id'], 'Last-Event-ID'),
      closes: closeafter !== undefined,
    }
    const { inbox, taken } = owner(request, 'read')
    await events({ store, readers, response: request.response, inbox, taken, asked })
    return {}
  }

  function acknowledge(request) {
    readQuery(request.query)
    const { ids } = readBody(request.body, ['ids'])
    need(isList(ids, LIMITS.ack_ids, id => isBase64Url(id, 32)), 'ids', 'ids are at most 1,000 IDs as they are listed.')
    const { inbox } = owner(request, 'ack')
    store.ack(inbox, ids)
    readers.change(inbox)
    return { status: 204 }
  }

  function readSettings(bytes) {
    const body = bytes.length ? readBody(bytes, SETTINGS) : {}
    const rules = {
      retention: [value => isWhole(value, LIMITS.min_retention_seconds, LIMITS.max_retention_seconds), '3,600 to 7,776,000 seconds'],
      accept: [value => ACCEPT.includes(value), `one of ${ACCEPT.join(', ')}`],
      contacts: [value => isList(value, LIMITS.list_entries, isAddress), 'at most 1,000 bucket addresses'],
      blocked: [value => isList(value, LIMITS.list_entries, isAddress), 'at most 1,000 bucket addresses'],
      names: [value => isList(value, LIMITS.names, isName), 'at most 5 names'],
      invite: [value => typeof value === 'string' && /^[\w-]{1,64}$/.test(value), 'a code of 1 to 64 letters, digits, - and _'],
    }
    for (const name of Object.keys(body)) need(rules[name][0](body[name]), name, `${name} is ${rules[name][1]}.`)
    return body
  }

  async function settings(request) {
    readQuery(request.query)
    const body = readSettings(request.body)
    const token = owner(request, 'settings')
    for (const name of new Set(body.names)) await names.prove(name, token.app, address => address === token.address)
    const isNew = store.settings(token, body, () => {
      if (invites.length) return invites.includes(body.invite) && store.useInvite(body.invite) ? null : 'Claim with an unused invite.'
      return anyKey || body.names?.length ? null : 'Claim with a name of yours, in `names`.'
    })
    return { status: isNew ? 201 : 200, content: store.describe(token.inbox) }
  }

  function describe(request) {
    readQuery(request.query)
    return { status: 200, content: store.describe(owner(request, 'read').inbox) }
  }

  function remove(request) {
    readQuery(request.query)
    need(request.body.length === 0, 'body', 'The body is empty.')
    const token = owner(request, 'settings')
    store.remove(token)
    readers.change(token.inbox)
    return { status: 204 }
  }

  const routes = {
    '/.well-known/message-inbox': { GET: capabilities },
    '/v1/messages': { GET: list, POST: deliver },
    '/v1/messages/ack': { POST: acknowledge },
    '/v1/events': { GET: follow },
    '/v1/inbox': { GET: describe, PUT: settings, DELETE: remove },
  }
  return { routes, forgetCounts: () => { counts = new Map() } }
}
