// From a name to a key, docs/protocol.md#who-is-who
import { faultOf, makeGetText } from './fetch.mjs'
import { addressOf, compress, ownsName, signedBy } from './keys.mjs'
import { refuse } from './refusals.mjs'

const SECONDS = { yes: 600, no: 300, failed: 45 } // how long an answer is remembered
const DAY = 86400
const AGAIN = 60
const CHAIN_MS = 20000
const MOST_REMEMBERED = 10000
const MOST_AT_ONCE = 100
const KEY_FILES = ['key.json', 'public_key.json', 'publicKey.json', 'pubKey.json', 'pk.txt', 'key.txt', 'public_key.txt']
const KEY_MEMBERS = ['appPublicKey', 'publicKey', 'pubKey', 'public_key', 'key']

/** A link that does not hold. A `final` one is somebody's doing; a `missing` one may have a lapse. Other errors are failures. */
class Broken extends Error {
  constructor(kind, detail) {
    super(detail)
    this.kind = kind
  }
}
const final = detail => { throw new Broken('final', detail) }
const missing = detail => { throw new Broken('missing', detail) }

export class Names {
  #remembered = new Map() // -> {kind: yes, no or failed, at, until, detail, good: {at, address, key}, missingSince}
  #asking = new Map()

  constructor({ services, allowPrivate, now }) {
    Object.assign(this, { services, allowPrivate, now, getText: makeGetText({ allowPrivate }) })
  }

  /** Refuses unless the name leads to a bucket address that `fits`. */
  async prove(name, app, fits) {
    await this.#find(name, app, { wantKey: false }, found => fits(found.address))
  }

  /** The app public key that the name leads to, if it made the signature; refuses otherwise. */
  async signer(name, app, isSignedBy) {
    return (await this.#find(name, app, { wantKey: true }, found => isSignedBy(found.key))).key
  }

  async #find(name, app, want, fits) {
    let found = await this.#ask(name, app, want)
    const isStale = found.kind === 'failed' && found.good && !found.missingSince && this.now() < found.good.at + DAY
    if ((found.kind === 'yes' || isStale) && fits(found.good)) return found.good
    if (found.kind === 'yes' || isStale) found = await this.#ask(name, app, { ...want, again: true })
    if (found.kind === 'yes' && fits(found.good)) return found.good
    if (found.kind === 'failed') refuse('names_unavailable', `A name cannot be looked up: ${found.detail}.`)
    return refuse('name_unproven', `The name leads ${found.kind === 'yes' ? 'to another key in this app' : `nowhere: ${found.detail}`}.`)
  }

  /** What is remembered, or a new look-up; there is one for each name at a time. */
  async #ask(name, app, { wantKey, again = false }) {
    const id = `${name} ${app} ${wantKey}`
    const before = this.#remembered.get(id)
    if (before && this.now() < (again ? before.at + AGAIN : before.until)) return before
    if (this.#asking.has(id)) return this.#asking.get(id)
    if (this.#asking.size >= MOST_AT_ONCE) return { kind: 'failed', detail: 'too many names are being looked up' }
    const asking = this.#lookUp(name, app, wantKey, before)
    this.#asking.set(id, asking)
    const answer = await asking
    this.#asking.delete(id)
    this.#remembered.delete(id)
    this.#remembered.set(id, answer)
    if (this.#remembered.size > MOST_REMEMBERED) this.#remembered.delete(this.#remembered.keys().next().value)
    return answer
  }

  async #lookUp(name, app, wantKey, before) {
    const at = this.now()
    const answer = (kind, more) => ({ kind, at, until: at + SECONDS[kind], ...more })
    try {
      return answer('yes', { good: { at, ...await this.#chain(name, app, wantKey, AbortSignal.timeout(CHAIN_MS)) } })
    } catch (error) {
      const { kind } = error // undefined if a host, and not its answer, is at fault: what it said is nobody's business
      const detail = kind ? error.message : 'it cannot be asked right now'
      const missingSince = kind === 'missing' ? before?.missingSince ?? at : undefined
      const isLapse = kind === 'missing' && before?.good && at < missingSince + 3 * DAY
      if (kind === undefined || isLapse) return answer('failed', { detail, good: before?.good, missingSince })
      return answer('no', { detail })
    }
  }

  async #chain(name, app, wantKey, signal) {
    const getText = text => {
      const fault = URL.canParse(text) ? !this.allowPrivate && faultOf(new URL(text)) : 'is none'
      if (fault) final(`a URL in the chain ${fault}`)
      return this.getText(new URL(text), { absent: [403, 404, 410], signal })
    }
    const record = await this.#record(name, signal)
    const profile = await getText(profileUrl(record)) ?? missing('there is no profile')
    const claim = readProfile(profile, record.address)
    const bucket = claim.apps?.[app] ?? final('the profile has no bucket for this app')
    if (typeof bucket !== 'string' || !URL.canParse(bucket)) final('the bucket in the profile is no URL')
    const address = new URL(bucket).pathname.split('/').filter(Boolean).at(-1)
    if (!wantKey) return { address }
    const stated = compress(claim.appsMeta?.[app]?.publicKey)
    const key = stated && addressOf(stated) === address ? stated : await findKey(bucket, address, getText)
    return { address, key }
  }

  async #record(name, signal) {
    if (this.services.length === 0) final('this server asks no name service')
    for (const [i, service] of this.services.entries()) {
      try {
        const text = await this.getText(new URL(`${service}/v1/names/${name}`), { configured: true, absent: [400, 404], signal })
        return text === null ? missing('there is no such name') : JSON.parse(text)
      } catch (error) {
        if (error.kind || i === this.services.length - 1) throw error // else the next is asked
      }
    }
  }
}

function profileUrl({ status, zonefile }) {
  if (status === 'revoked' || status === 'name-revoke') final('the name is revoked')
  if (!zonefile) missing('the name has no zone file')
  const record = service => new RegExp(`^\\s*${service}\\s.*?\\bURI\\s+\\d+\\s+\\d+\\s+"?([^"\\s;]+)`, 'mi').exec(zonefile)
  const [, url] = record('_http\\._tcp') ?? record('_https\\._tcp') ?? final('the zone file names no profile')
  return url.startsWith('http') ? url : `https://${url}`
}

/** The claim in a profile, if the owner of the name signed it. A profile that is not JSON is half-written: no Broken. */
function readProfile(text, owner) {
  const token = JSON.parse(text)?.[0]?.token
  const [header, payload, signature, ...more] = typeof token === 'string' ? token.split('.') : []
  const read = part => {
    try {
      return JSON.parse(Buffer.from(part, 'base64url').toString())
    } catch {
      return final('the profile has no token')
    }
  }
  if (read(header)?.alg !== 'ES256K' || !signature || more.length) final('the profile has no token that is ES256K')
  const { issuer, claim } = read(payload) ?? {}
  if (!ownsName(issuer?.publicKey, owner)) final('the profile is not of the owner of the name')
  if (!signedBy(compress(issuer.publicKey), `${header}.${payload}`, Buffer.from(signature, 'base64url'))) final('the profile is not signed')
  return claim ?? final('the profile has no claim')
}

async function findKey(bucket, address, getText) {
  const files = []
  for (const file of KEY_FILES) {
    const text = await getText(bucket.replace(/\/*$/, '/') + file)
    if (text === null) continue
    files.push(text)
    const key = readKey(text)
    if (key && addressOf(key) === address) return key
  }
  if (files.some(isHalfWritten)) throw new Error('a key file is empty or incomplete')
  return files.length ? final('no key in the bucket hashes to its address') : missing('there is no key file')
}

function readKey(text) {
  try {
    const value = JSON.parse(text)
    return compress(KEY_MEMBERS.map(name => value?.[name]).find(Boolean) ?? value) ?? compress(text)
  } catch {
    return compress(text)
  }
}

function isHalfWritten(text) {
  const bare = text.trim()
  if (/^(0x)?[0-9a-f]{0,65}$/i.test(bare)) return true // the beginning of a key, or nothing
  try {
    return /^["{]/.test(bare) && JSON.parse(bare) === undefined
  } catch {
    return true
  }
}
