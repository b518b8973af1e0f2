// Guarded requests: the URLs in a stranger's zone file and profile must not lead this server into its own network,
// docs/protocol.md#who-is-who
import dns from 'node:dns'
import http from 'node:http'
import https from 'node:https'
import net from 'node:net'
import { gunzipSync } from 'node:zlib'

const MOST_BYTES = 1 << 18 // before and after gunzip
const REDIRECTS = 2

const inside = new net.BlockList()
for (const range of ['0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12', '192.0.0.0/24',
  '192.0.2.0/24', '192.88.99.0/24', '192.168.0.0/16', '198.18.0.0/15', '198.51.100.0/24', '203.0.113.0/24', '224.0.0.0/3']) {
  const [address, bits] = range.split('/')
  inside.addSubnet(address, Number(bits), 'ipv4')
}
for (const [address, bits] of [['2001::', 23], ['2001:db8::', 32], ['2002::', 16], ['3fff::', 20]]) inside.addSubnet(address, bits, 'ipv6')
const global6 = new net.BlockList()
global6.addSubnet('2000::', 3, 'ipv6')

export function isPublic(address) {
  if (net.isIPv4(address)) return !inside.check(address, 'ipv4')
  return global6.check(address, 'ipv6') && !inside.check(address, 'ipv6')
}

// The address that was checked is the address that is connected to: a second look-up could give another one.
function publicLookup(hostname, options, callback) {
  dns.lookup(hostname, { ...options, all: true }, (error, addresses) => {
    if (!error && !addresses.every(({ address }) => isPublic(address))) error = new Error('its host is not public')
    if (error) callback(error)
    else if (options.all) callback(null, addresses)
    else callback(null, addresses[0].address, addresses[0].family)
  })
}

const PUBLIC_NAME = /^([a-z0-9_-]+\.)+(?!0x)[a-z0-9-]*[a-z][a-z0-9-]*\.?$/ // not an address in any notation

/** A URL's fault, if there is one that another try would not change. */
export function faultOf(url) {
  if (url.protocol !== 'https:' || url.port) return 'is not an https URL at the usual port'
  if (url.username || url.password || url.hash) return 'has a password or a fragment'
  return PUBLIC_NAME.test(url.hostname) ? null : 'has a host that is not a public name'
}

/**
 * How to get the text of a file; null if its host says with one of the statuses `absent` that there is none. Every other answer is an
 * error. `configured` says that the operator wrote this URL, so it may be anywhere; `allowPrivate` says so of all URLs.
 */
export const makeGetText = ({ allowPrivate }) => async function getText(url, options) {
  const { configured = false, absent, signal, redirects = REDIRECTS } = options
  const isGuarded = !configured && !allowPrivate
  if (isGuarded && faultOf(url)) throw new Error(`its URL ${faultOf(url)}`)
  const response = await new Promise((resolve, reject) => {
    const how = { agent: false, signal, headers: { 'Accept-Encoding': 'gzip' }, ...(isGuarded && { lookup: publicLookup }) }
    const { get } = url.protocol === 'http:' ? http : https
    get(url, how, resolve).on('error', reject)
  })
  const { statusCode, headers } = response
  if (statusCode === 200) return decode(await readAll(response), headers['content-encoding'])
  response.destroy()
  if (absent.includes(statusCode)) return null
  if (![301, 302, 303, 307, 308].includes(statusCode) || !headers.location) throw new Error(`its host answered ${statusCode}`)
  if (redirects === 0) throw new Error('it has too many redirects')
  return getText(new URL(headers.location, url), { absent, signal, redirects: redirects - 1 })
}

async function readAll(response) {
  const chunks = []
  let size = 0
  for await (const chunk of response) {
    size += chunk.length
    if (size > MOST_BYTES) throw new Error('it is too large')
    chunks.push(chunk)
  }
  if (!response.complete) throw new Error('it was cut off')
  return Buffer.concat(chunks)
}

function decode(bytes, encoding = 'identity') {
  if (encoding === 'gzip') bytes = gunzipSync(bytes, { maxOutputLength: MOST_BYTES })
  else if (encoding !== 'identity') throw new Error(`it is encoded as ${encoding}`)
  return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
}
