// Keys, addresses and signatures, docs/protocol.md#who-is-who
import { createHash, createPublicKey, verify } from 'node:crypto'

const sha256 = bytes => createHash('sha256').update(bytes).digest()
const hash160 = bytes => createHash('ripemd160').update(sha256(bytes)).digest()
// What stands before a compressed secp256k1 point in a DER public key.
const DER = Buffer.from('3036301006072a8648ce3d020106052b8104000a032200', 'hex')

/** A public key of node:crypto, or null if this is not the compressed key of a point on the curve. */
export function publicKey(hex) {
  if (typeof hex !== 'string' || !/^0[23][0-9a-f]{64}$/.test(hex)) return null
  try {
    return createPublicKey({ key: Buffer.concat([DER, Buffer.from(hex, 'hex')]), format: 'der', type: 'spki' })
  } catch {
    return null
  }
}

/** Was `text` signed by this key? The signature is r and s, and s may be high or low. */
export function signedBy(hex, text, signature) {
  const key = publicKey(hex)
  if (!key || signature.length !== 64) return false
  return verify('sha256', Buffer.from(text), { key, dsaEncoding: 'ieee-p1363' }, signature)
}

function digits(bytes, alphabet) {
  const base = BigInt(alphabet.length)
  let text = ''
  for (let n = BigInt('0x' + bytes.toString('hex')); n > 0n; n /= base) text = alphabet[Number(n % base)] + text
  for (let i = 0; bytes[i] === 0; i++) text = alphabet[0] + text
  return text
}

const B58 = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'
const C32 = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
const checksum = bytes => sha256(sha256(bytes)).subarray(0, 4)

function base58check(hash) {
  const bytes = Buffer.concat([Buffer.from([0]), hash])
  return digits(Buffer.concat([bytes, checksum(bytes)]), B58)
}

function c32check(version, hash) {
  return 'S' + C32[version] + digits(Buffer.concat([hash, checksum(Buffer.concat([Buffer.from([version]), hash]))]), C32)
}

/** The bucket address of a compressed key: base58check, version 0. */
export const addressOf = hex => base58check(hash160(Buffer.from(hex, 'hex')))

export function isAddress(text) {
  if (typeof text !== 'string' || !/^1[1-9A-HJ-NP-Za-km-z]{25,34}$/.test(text)) return false
  let n = 0n
  for (const c of text) n = n * 58n + BigInt(B58.indexOf(c))
  const hex = n.toString(16)
  return hex.length <= 48 && base58check(Buffer.from(hex.padStart(48, '0'), 'hex').subarray(0, 20)) === text
}

/** Does this key, compressed or not, hash to the address of a name's owner? A multi-signature address never fits. */
export function ownsName(hex, address) {
  const compressed = compress(hex)
  if (!compressed) return false
  const { x, y } = publicKey(compressed).export({ format: 'jwk' })
  const long = Buffer.concat([Buffer.from([4]), Buffer.from(x, 'base64url'), Buffer.from(y, 'base64url')])
  return [Buffer.from(compressed, 'hex'), long].some(bytes => {
    const hash = hash160(bytes)
    return [base58check(hash), c32check(22, hash), c32check(26, hash)].includes(address)
  })
}

/** The compressed form of a key: compressed, uncompressed, or x and y alone, with or without 0x. Null if it is none. */
export function compress(text) {
  if (typeof text !== 'string') return null
  let hex = text.trim().toLowerCase().replace(/^0x/, '')
  if (/^[0-9a-f]{128}$/.test(hex)) hex = '04' + hex
  if (/^04[0-9a-f]{128}$/.test(hex)) hex = (parseInt(hex.at(-1), 16) % 2 ? '03' : '02') + hex.slice(2, 66)
  return publicKey(hex) ? hex : null
}
