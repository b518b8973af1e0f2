// HTTP: bodies come in, answers and refusals go out, docs/protocol.md#every-answer. What is asked is for routes.mjs.
import http from 'node:http'
import { asRefusal, Refusal, refuse } from './refusals.mjs'

const EVERY_ANSWER = {
  'Access-Control-Allow-Origin': '*',
  'Access-Control-Expose-Headers': 'Date, Retry-After, WWW-Authenticate',
  'Cache-Control': 'no-store',
}
const PREFLIGHT = {
  'Access-Control-Allow-Methods': 'GET, POST, PUT, DELETE, OPTIONS',
  'Access-Control-Allow-Headers': 'Authorization, Content-Type, Last-Event-ID',
  'Access-Control-Max-Age': '86400',
}
const BODY_BYTES = { '/v1/messages': 4096 } // all others:
const OTHER_BODY_BYTES = 65536
const DISCARDED_BYTES = 1 << 20

/** A server that does not listen yet. `routes` has, for each path, a function for each method. */
export function serve({ origin, routes, isStopping }) {
  const { protocol } = new URL(origin)
  const isOurs = host => URL.canParse(`${protocol}//${host}`) && new URL(`${protocol}//${host}`).origin === origin

  async function answer(raw, response) {
    if (isStopping()) refuse('stopping')
    if (!isOurs(raw.headers.host)) refuse('wrong_host')
    if (raw.method === 'OPTIONS') return { status: 204, headers: PREFLIGHT }
    const [, path, query] = /^([^?]*)\??(.*)$/.exec(raw.url)
    const route = Object.hasOwn(routes, path) ? routes[path] : refuse('not_found')
    if (!Object.hasOwn(route, raw.method)) {
      response.setHeader('Allow', [...Object.keys(route), 'OPTIONS'].join(', '))
      refuse('wrong_method')
    }
    const body = raw.method === 'GET' ? Buffer.alloc(0) : await readBody(raw, BODY_BYTES[path] ?? OTHER_BODY_BYTES)
    return route[raw.method]({ raw, path, query: new URLSearchParams(query), body, response })
  }

  async function handle(raw, response) {
    for (const [name, value] of Object.entries(EVERY_ANSWER)) response.setHeader(name, value)
    const { status, headers, content } = await answer(raw, response).catch(error => asRefusal(error).answer)
    if (response.headersSent || response.destroyed) return // it was a stream, or nobody is there any more
    if (status === 413 || isStopping()) response.shouldKeepAlive = false
    const bytes = content && Buffer.from(JSON.stringify(content))
    response.writeHead(status, { ...(bytes && { 'Content-Type': 'application/json', 'Content-Length': bytes.length }), ...headers })
    response.end(bytes)
  }

  const timeouts = { headersTimeout: 15000, requestTimeout: 30000, keepAliveTimeout: 75000, connectionsCheckingInterval: 5000 }
  const server = http.createServer({ ...timeouts, requireHostHeader: false }, handle)
  server.on('checkExpectation', handle) // otherwise Node answers by itself
  server.on('clientError', refuseByHand)
  return server
}

async function readBody(raw, most) {
  if (raw.headers['content-encoding'] !== undefined) {
    refuse('bad_request', 'Send the body uncompressed.', { member: 'Content-Encoding' })
  }
  const chunks = []
  let size = 0
  for await (const chunk of raw.iterator({ destroyOnReturn: false })) {
    size += chunk.length
    if (size <= most) chunks.push(chunk)
    else if (size > most + DISCARDED_BYTES) break // a client hears a refusal only when it has sent its body
  }
  return size > most ? refuse('too_large') : Buffer.concat(chunks)
}

/** What Node refuses before there is a request is answered as everything else is. */
function refuseByHand(error, socket) {
  if (!socket.writable) return socket.destroy()
  const { answer } = new Refusal(error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 'too_slow' : 'bad_request')
  const body = JSON.stringify(answer.content)
  const headers = {
    ...EVERY_ANSWER, ...answer.headers, Date: new Date().toUTCString(), 'Content-Length': body.length, Connection: 'close',
  }
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.end(`HTTP/1.1 ${answer.status} ${http.STATUS_CODES[answer.status]}\r\n${lines.join('')}\r\n${body}`)
}
