// Tokens, docs/protocol.md#tokens
import { createHash } from 'node:crypto'
import { isAddress, publicKey, signedBy } from './keys.mjs'
import { readObject } from './json.mjs'
import { LIMITS } from './limits.mjs'
import { refuse } from './refusals.mjs'

const GAIA = ['gaiaChallenge', 'hubUrl', 'gaiaHubUrl', 'associationToken', 'scopes', 'salt', 'childToAssociate']

export const isKey = text => publicKey(text) !== null
export const isName = text => typeof text === 'string' && /^[a-z0-9_+-]{1,48}(\.[a-z0-9_+-]{1,48}){1,2}$/.test(text)
const isApp = text => typeof text === 'string' && /^https?:/.test(text) && URL.canParse(text) && new URL(text).origin === text
const isInteger = value => Number.isInteger(value)

const bad = (member, detail, more) => refuse('bad_token', detail, { member, ...more })

/** The text after `Bearer `, from the raw headers, because Node drops a second Authorization header silently. */
export function bearer(rawHeaders) {
  const sent = rawHeaders.filter((_, i) => i % 2 && rawHeaders[i - 1].toLowerCase() === 'authorization')
  if (sent.length === 0) refuse('no_token')
  const [, token] = (sent.length === 1 && /^bearer +(\S+)$/i.exec(sent[0])) || []
  return token ?? bad('Authorization', 'Send `Authorization: Bearer <token>` once.')
}

function part(text, member) {
  const bytes = Buffer.from(text, 'base64url')
  if (!text || bytes.toString('base64url') !== text) bad(member, `The ${member} is not canonical base64url without padding.`)
  return bytes
}

function object(text, member) {
  const bytes = part(text, member)
  try {
    return readObject(bytes)
  } catch (error) {
    bad(member, `The ${member} ${error.message}.`)
  }
}

function isGaia(claims) {
  try {
    const value = JSON.parse(Buffer.from(claims, 'base64url').toString()) // not strict: wallets write floats
    return value !== null && typeof value === 'object' && GAIA.some(name => Object.hasOwn(value, name))
  } catch {
    return false
  }
}

/**
 * The claims of a token that follows every rule; `signer` is the key that made it, and `taken` is when it is refused. Only a deliver
 * token without a key has no `signer` yet: who has found the key asks `isSignedBy(key)`. `type` is deliver or owner, `body` bytes.
 */
export function checkToken(token, { type, scope, audience, body, now }) {
  const parts = token.split('.')
  if (token.startsWith('v1:') || isGaia(parts[1] ?? '')) refuse('gaia_token') // first, because these may be long
  if (parts.length !== 3) bad('token', 'A token has three parts.')
  if (token.length > LIMITS.token_characters) bad('token', 'A token has at most 2,048 characters.')
  const header = object(parts[0], 'header')
  if (header.alg !== 'ES256K') bad('alg', 'alg is ES256K.')
  if (header.typ !== `inbox-${type}+jwt`) bad('typ', `typ is inbox-${type}+jwt.`)
  if (Object.keys(header).length !== 2) bad('header', 'The header has typ and alg, and nothing else.')

  const claims = object(parts[1], 'claims')
  const rules = {
    iss: value => isKey(value) || (type === 'deliver' && isName(value)),
    ...(type === 'deliver' && { sub: value => isName(value) || isKey(value) || isAddress(value) }),
    ...(type === 'deliver' && Object.hasOwn(claims, 'key') && { key: value => isKey(value) && isName(claims.iss) }),
    app: isApp,
    aud: value => value === audience,
    ...(type === 'owner' && { scope: value => value === scope }),
    iat: isInteger,
    exp: isInteger,
    ...(scope !== 'read' && { digest: value => value === createHash('sha256').update(body).digest('base64url') }),
  }
  for (const [name, fits] of Object.entries(rules)) {
    if (!Object.hasOwn(claims, name)) bad(name, `The claim ${name} is missing.`)
    if (!fits(claims[name])) bad(name, `The claim ${name} does not fit this request.`)
  }
  const surplus = Object.keys(claims).find(name => !Object.hasOwn(rules, name))
  if (surplus !== undefined) bad('claims', `The claim ${surplus} is not one of this type of token.`)

  const { iat, exp } = claims
  const life = scope === 'read' ? 3600 : 300
  if (iat > now + LIMITS.clock_skew_seconds) bad('iat', 'The token is from the future.', { now })
  if (exp <= iat || exp - iat > life) bad('exp', `exp is 1 to ${life} seconds after iat.`)
  if (exp <= now - LIMITS.clock_skew_seconds) bad('exp', 'The token has expired.', { now })

  const signature = part(parts[2], 'signature')
  const isSignedBy = key => signedBy(key, `${parts[0]}.${parts[1]}`, signature)
  const signer = claims.key ?? (isKey(claims.iss) ? claims.iss : undefined)
  if (signature.length !== 64 || (signer && !isSignedBy(signer))) badSignature()
  return { ...claims, signer, isSignedBy, taken: exp + LIMITS.clock_skew_seconds }
}

export const badSignature = () => bad('signature', 'The signature is not that of the key.')
