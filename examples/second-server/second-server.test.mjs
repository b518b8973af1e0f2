// What no request from outside can show: `node --test examples/second-server/*.test.mjs`
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { faultOf, isPublic } from './fetch.mjs'
import { Store } from './store.mjs'
import { badSignature, bearer, checkToken } from './tokens.mjs'

const NOW = 1_800_000_000
const vectors = JSON.parse(readFileSync(new URL('../../tests/vectors/tokens.json', import.meta.url)))

function judged({ token, type, scope, body }) {
  try {
    const text = bearer(['Authorization', `Bearer ${token}`])
    const { signer, isSignedBy } = checkToken(text, { type, scope, audience: vectors.audience, body: Buffer.from(body), now: vectors.now })
    return signer || isSignedBy(vectors.keys.alice.public) ? 'accept' : badSignature()
  } catch (refusal) {
    return refusal.code
  }
}

test('every token of the vectors is judged as they say', () => {
  for (const each of vectors.cases) assert.equal(judged(each), each.code ?? each.expect, each.name)
})

test('a URL of a stranger leads to a public name, and a public name to a public address', () => {
  for (const url of ['https://localhost/', 'https://127.1/', 'https://0x7f000001/', 'https://[::1]/', 'https://intranet/', 'http://hub.example/',
    'https://hub.example:8443/', 'https://a:b@hub.example/', 'https://hub.example/#x', 'file:///etc/passwd']) assert.ok(faultOf(new URL(url)), url)
  assert.equal(faultOf(new URL('https://hub.example/x')), null)
  const inside = ['127.0.0.1', '10.0.0.1', '169.254.169.254', '192.168.0.1', '100.64.0.1', '::1', 'fe80::1', 'fc00::1', '::ffff:8.8.8.8', '64:ff9b::808:808']
  assert.deepEqual(inside.filter(isPublic), [])
  assert.deepEqual(['8.8.8.8', '2606:4700::1111'].map(isPublic), [true, true])
})

test('what was read or has expired is in no file any more, whatever SQLite moved', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'second-server-'))
  let now = NOW
  const store = new Store(join(folder, 'inbox.db'), { now: () => now })
  const bob = { inbox: 'bob', app: 'https://chat.example', iat: NOW, request: '' }
  store.settings(bob, { accept: 'anyone' }, () => null)
  const alice = { app: bob.app, address: 'alice', hasName: false }
  const hash = text => createHash('sha256').update(text).digest('base64url')
  const written = number => `${number} ${hash(`${number}`)}`.padEnd(50 + (number * 397) % 950, '.')
  const unread = new Set()
  for (let number = 0; number < 600; number++) {
    const text = written(number)
    store.deliver('bob', alice, { id: hash(text), text, iat: NOW, ttl: number % 7 ? undefined : 60 })
    unread.add(text)
    if (number % 40 === 39) { // read about two of three, here and there
      const read = [...unread].filter(each => hash(each) > 'V')
      store.ack('bob', read.map(hash))
      for (const each of read) unread.delete(each)
    }
  }
  now += 60
  store.sweep()
  store.close()
  const files = readdirSync(folder).map(name => readFileSync(join(folder, name), 'latin1')).join('')
  rmSync(folder, { recursive: true })
  for (let number = 0; number < 600; number++) {
    const text = written(number)
    assert.equal(files.includes(text.slice(0, 46)), unread.has(text) && number % 7 !== 0, text)
  }
})
