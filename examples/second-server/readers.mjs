// Who waits for changes, docs/protocol.md#get-v1messages-list-or-follow and #get-v1events-follow-as-it-happens
import { asRefusal, refuse } from './refusals.mjs'
import { LIMITS } from './limits.mjs'

const PING_MS = 45000
const RETRY_MS = 10000
const spread = () => 2000 + Math.floor(Math.random() * 8000) // so that not all clients come back in the same second

class Reader {
  changed = false
  ended = null // why this reader must stop waiting
  #wake = () => {}

  constructor(isStream) {
    this.isStream = isStream
  }

  change() {
    this.changed = true
    this.#wake()
  }

  end(reason) {
    this.ended ??= reason
    this.#wake()
  }

  /** Until something changes, or this reader is ended, or the time is over. */
  async wait(ms) {
    if (this.changed || this.ended || ms <= 0) return
    await new Promise(resolve => {
      const timer = setTimeout(resolve, ms)
      this.#wake = () => { clearTimeout(timer); resolve() }
    })
  }
}

export class Readers {
  stopped = false
  #waiting = new Map() // inbox -> the set of its readers, the oldest first

  enter(inbox, { isStream }) {
    const waiting = this.#waiting.get(inbox) ?? new Set()
    if (waiting.size >= LIMITS.waiting_readers) {
      const oldest = [...waiting].find(reader => reader.isStream) ?? refuse('too_many')
      oldest.end('replaced')
      waiting.delete(oldest)
    }
    const reader = new Reader(isStream)
    this.#waiting.set(inbox, waiting.add(reader))
    return reader
  }

  leave(inbox, reader) {
    const waiting = this.#waiting.get(inbox)
    waiting?.delete(reader)
    if (waiting?.size === 0) this.#waiting.delete(inbox)
  }

  change(inbox) {
    for (const reader of this.#waiting.get(inbox) ?? []) reader.change()
  }

  stop() {
    this.stopped = true
    for (const waiting of this.#waiting.values()) for (const reader of waiting) reader.end('stopping')
  }
}

const hasEntries = page => page.messages.length > 0 || page.read?.length > 0
/** Is there something in this page that somebody who knows these notices has not heard? */
const hasNews = (page, told) => hasEntries(page) || Boolean(page.notices?.some(notice => !told?.includes(notice)))

/** A page that was held back while it was empty: for so many seconds, or until the token is not `taken` any more. */
export async function held({ store, readers, response, inbox, taken, asked }) {
  const reader = readers.enter(inbox, { isStream: false })
  response.on('close', () => reader.end('closed'))
  const until = Math.min(Date.now() + asked.seconds * 1000, taken * 1000)
  try {
    let page = store.page(inbox, asked.after, asked.limit)
    const told = page.notices
    while (!hasNews(page, told) && !reader.ended && Date.now() < until) {
      await reader.wait(until - Date.now())
      reader.changed = false
      page = store.page(inbox, asked.after, asked.limit)
    }
    return page
  } finally {
    readers.leave(inbox, reader)
  }
}

/** The stream of events. Refusals before it begins are thrown; afterwards the last event says why it ends. */
export async function events({ store, readers, response, inbox, taken, asked }) {
  let page = store.page(inbox, asked.after, asked.limit)
  const reader = readers.enter(inbox, { isStream: true })
  response.on('close', () => reader.end('closed'))
  response.writeHead(200, { 'Content-Type': 'text/event-stream', 'X-Accel-Buffering': 'no' }) // nginx must not hold events back
  const send = async text => {
    if (!response.write(text)) await new Promise(resolve => response.once('drain', resolve).once('close', resolve))
  }
  let retry = `retry: ${spread()}\n` // only in the first state
  let told
  let reason
  try {
    if (hasNews(page, told) || asked.after === null) await state(page)
    else await send(': nothing yet\n\n') // so that the client sees its stream begin
    while (!reader.ended && Date.now() < taken * 1000) {
      if (!page.more) await reader.wait(Math.min(PING_MS, taken * 1000 - Date.now()))
      const isQuiet = !page.more && !reader.changed
      reader.changed = false
      page = store.page(inbox, page.cursor, asked.limit)
      if (hasNews(page, told)) await state(page)
      else if (isQuiet && !reader.ended) await send(': ping\n\n')
      told = page.notices
    }
    reason = reader.ended ?? 'token_expired'
  } catch (error) {
    reason = asRefusal(error).code
  } finally {
    readers.leave(inbox, reader)
  }
  const pause = reason === 'stopping' ? spread() : RETRY_MS
  response.end(`event: end\nretry: ${pause}\ndata: ${JSON.stringify({ reason })}\n\n`)

  async function state(page) {
    await send(`id: ${page.cursor}\nevent: state\n${retry}data: ${JSON.stringify(page)}\n\n`)
    retry = ''
    told = page.notices
    if (asked.closes && hasEntries(page)) reader.end('closeafter')
  }
}
