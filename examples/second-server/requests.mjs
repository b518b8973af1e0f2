// What a request may hold, docs/protocol.md#requests: `bad_request` names the member that is wrong.
import { readObject } from './json.mjs'
import { refuse } from './refusals.mjs'

export const need = (fits, member, detail) => fits || refuse('bad_request', detail, { member })
export const isWhole = (value, least, most) => Number.isInteger(value) && value >= least && value <= most
export const isList = (value, most, fits) => Array.isArray(value) && value.length <= most && value.every(fits)

/** The body's members, which must be among `members`. */
export function readBody(bytes, members) {
  let body
  try {
    body = readObject(bytes)
  } catch (error) {
    refuse('bad_request', `The body ${error.message}.`, { member: 'body' })
  }
  need(Object.keys(body).every(name => members.includes(name)), 'body', `The body may have ${members.join(', ')}, and nothing else.`)
  return body
}

/** The parameters as text, which must be among `members`, and each there once. */
export function readQuery(query, ...members) {
  const names = [...query.keys()]
  const fits = names.every(name => members.includes(name)) && new Set(names).size === names.length
  need(fits, 'query', members.length ? `The query may have ${members.join(', ')}, each once.` : 'The query must be empty here.')
  return Object.fromEntries(query)
}

export function readWhole(text, name, least, most) {
  const value = /^\d{1,4}$/.test(text) ? Number(text) : NaN
  need(isWhole(value, least, most), name, `${name} is a whole number from ${least} to ${most}.`)
  return value
}

/** A cursor's form; null if none was sent. The store says whether it is one of this inbox. */
export function readCursor(text, member) {
  if (text === undefined) return null
  return isBase64Url(text, 24) ? text : refuse('bad_cursor', 'Send a cursor exactly as it was given, or none.', { member })
}

export function isBase64Url(text, length) {
  const bytes = typeof text === 'string' ? Buffer.from(text, 'base64url') : Buffer.alloc(0)
  return bytes.length === length && bytes.toString('base64url') === text
}
