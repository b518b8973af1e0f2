// What is kept: one SQLite file, in which nobody's key, name or app can be read without the secret beside it.
import { createHmac, randomBytes } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { LIMITS } from './limits.mjs'
import { refuse } from './refusals.mjs'

const HOUR = 3600
const DAY = 86400
const FORGOTTEN_AT_ONCE = 200
const REPLAYABLE_SECONDS = 420 // no settings token is good for longer: a life of 300 s and two skews
const CHECKPOINT_MS = 500
const DISK_ERRORS = [8, 10, 13, 14] // read-only, input/output, full, cannot open

// entries: an unread one has a text. A read one has none, and is remembered until `until`. `expires` is what senders are told; it is
// 0 for an id that was acknowledged before anything was delivered. `seq` is the place in the order of the inbox's changes.
//
// texts: what was read must be gone from the file, but SQLite leaves a copy of a row behind when it moves it to another page, even with
// secure_delete. So each text is padded to more than half a page: a page has room for one, a row that moves overwrites another of
// the same size, and pages that become free are overwritten by secure_delete.
const PAGE_BYTES = 2048
const TEXT_BYTES = 1100
const SCHEMA = `
  CREATE TABLE IF NOT EXISTS inboxes (inbox TEXT PRIMARY KEY, app TEXT, epoch TEXT, seq INTEGER, forgotten INTEGER,
    retention INTEGER, accept TEXT, was_full INTEGER) STRICT;
  CREATE TABLE IF NOT EXISTS lists (inbox TEXT, list TEXT, address TEXT, PRIMARY KEY (inbox, list, address)) STRICT;
  CREATE TABLE IF NOT EXISTS names (name TEXT PRIMARY KEY, inbox TEXT) STRICT;
  CREATE TABLE IF NOT EXISTS texts (row INTEGER PRIMARY KEY, padded BLOB) STRICT;
  CREATE TABLE IF NOT EXISTS entries (inbox TEXT, id TEXT, text INTEGER, bytes INTEGER, expires INTEGER, until INTEGER,
    seq INTEGER, PRIMARY KEY (inbox, id)) STRICT;
  CREATE UNIQUE INDEX IF NOT EXISTS changes ON entries (inbox, seq);
  CREATE INDEX IF NOT EXISTS room ON entries (inbox, bytes, until);
  CREATE TRIGGER IF NOT EXISTS was_read AFTER UPDATE OF text ON entries WHEN OLD.text IS NOT NEW.text
    BEGIN DELETE FROM texts WHERE row = OLD.text; END;
  CREATE TRIGGER IF NOT EXISTS has_gone AFTER DELETE ON entries BEGIN DELETE FROM texts WHERE row = OLD.text; END;
  CREATE TABLE IF NOT EXISTS settings_tokens (inbox TEXT PRIMARY KEY, iat INTEGER, request TEXT) STRICT;
  CREATE TABLE IF NOT EXISTS used_invites (code TEXT PRIMARY KEY) STRICT;
`

export class Store {
  #statements = new Map()
  #checkpoint = null

  /** `now` gives seconds. `restored` says that the file is a copy from earlier. */
  constructor(file, { now, restored }) {
    this.now = now
    const secret = `${file}.secret`
    if (!existsSync(secret)) writeFileSync(secret, randomBytes(32).toString('hex'), { flush: true })
    this.secret = readFileSync(secret)
    this.db = new DatabaseSync(file)
    this.db.exec(`PRAGMA page_size = ${PAGE_BYTES}; PRAGMA journal_mode = WAL; PRAGMA secure_delete = ON`)
    this.db.exec(`PRAGMA synchronous = FULL; ${SCHEMA}`) // FULL: a commit returns when it is on disk
    if (restored) this.#write(() => this.#run('UPDATE inboxes SET epoch = lower(hex(randomblob(8)))'))
  }

  close() {
    clearTimeout(this.#checkpoint)
    this.db.close()
  }

  hash(kind, text) {
    return createHmac('sha256', this.secret).update(`${kind}\0${text}`).digest('base64url')
  }

  #sql(text) {
    if (!this.#statements.has(text)) this.#statements.set(text, this.db.prepare(text))
    return this.#statements.get(text)
  }

  #get(text, ...values) {
    return this.#sql(text).get(...values)
  }

  #run(text, ...values) {
    return this.#sql(text).run(...values).changes
  }

  /** Everything or nothing, and on disk when this returns. */
  #write(change) {
    try {
      this.db.exec('BEGIN IMMEDIATE')
      const result = change()
      this.db.exec('COMMIT')
      this.#checkpoint ??= setTimeout(() => this.#emptyLog(), CHECKPOINT_MS)
      return result
    } catch (error) {
      if (this.db.isTransaction) this.db.exec('ROLLBACK')
      if (DISK_ERRORS.includes(error.errcode & 0xff)) refuse('storage_full')
      throw error
    }
  }

  /** What was removed stays in the write-ahead log until this. */
  #emptyLog() {
    this.#checkpoint = null
    try {
      this.db.exec('PRAGMA wal_checkpoint(TRUNCATE)')
    } catch (error) { // another program reads the file, or the disk is full
      console.error(error)
      this.#checkpoint = setTimeout(() => this.#emptyLog(), CHECKPOINT_MS)
    }
  }

  #box(inbox) {
    return this.#get('SELECT * FROM inboxes WHERE inbox = ?', inbox)
  }

  inboxOfName(name, app) {
    return this.#get('SELECT inbox FROM names WHERE name = ?', this.hash('name', `${app} ${name}`))?.inbox ?? ''
  }

  /** The owner's policy. There is one answer for every reason not to accept, also if there is no such inbox. */
  accepts(inbox, { app, address, hasName }) {
    const box = this.#box(inbox)
    const isListed = list =>
      this.#get('SELECT 1 FROM lists WHERE inbox = ? AND list = ? AND address = ?', inbox, list, this.hash('list', address)) !== undefined
    if (box?.app !== this.hash('app', app)) return false
    if (inbox === this.hash('inbox', address)) return true // the owner's own key
    if (isListed('blocked')) return false
    return { anyone: true, names: hasName, contacts: isListed('contacts'), nobody: false }[box.accept]
  }

  #entry(inbox, id) {
    return this.#get('SELECT * FROM entries WHERE inbox = ? AND id = ? AND until > ?', inbox, id, this.now())
  }

  /** A new entry, or a change of one, at the end of the order. */
  #put(inbox, { id, text = null, bytes = 0, expires, until }) {
    const { seq } = this.#get('UPDATE inboxes SET seq = seq + 1 WHERE inbox = ? RETURNING seq', inbox)
    this.#run(`INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
      text = excluded.text, bytes = excluded.bytes, expires = excluded.expires, until = excluded.until, seq = excluded.seq`,
    inbox, id, text, bytes, expires, until, seq)
  }

  /** docs/protocol.md#post-v1messages-deliver */
  deliver(inbox, sender, { id, text, ttl, iat }) {
    const delivered = this.#write(() => {
      if (!this.accepts(inbox, sender)) return 'not_accepted' // the owner may have changed it during the look-ups
      const life = Math.min(ttl ?? Infinity, this.#box(inbox).retention)
      const end = iat + life
      const expires = life < DAY ? end : end - (end % DAY) + DAY - 1
      if (expires <= this.now()) return 'ttl_passed'
      const old = this.#entry(inbox, id)
      const isNew = !old || old.expires <= this.now()
      if (isNew && !this.#hasRoom(inbox, text.length)) return 'inbox_full' // for one that was read, too: senders must not see that
      const longer = isNew ? expires : Math.max(expires, old.expires)
      if (old?.text === null) {
        this.#run('UPDATE entries SET expires = ?, until = max(until, ?) WHERE inbox = ? AND id = ?', longer, longer, inbox, id)
      } else if (isNew) {
        this.#put(inbox, { id, text: this.#addText(text), bytes: text.length, expires, until: expires })
      } else if (longer > old.expires) {
        this.#put(inbox, { ...old, expires: longer, until: longer })
      }
      return { isNew, expires: longer }
    })
    return typeof delivered === 'string' ? refuse(delivered) : delivered
  }

  #addText(text) {
    return this.#get('INSERT INTO texts (padded) VALUES (?) RETURNING row', Buffer.from(text.padEnd(TEXT_BYTES))).row
  }

  #unread(inbox) {
    return this.#get(
      'SELECT count(*) AS entries, coalesce(sum(bytes), 0) AS bytes FROM entries WHERE inbox = ? AND bytes > 0 AND until > ?',
      inbox, this.now())
  }

  #hasRoom(inbox, more) {
    const { entries, bytes } = this.#unread(inbox)
    const has = entries < LIMITS.inbox_entries && bytes + more <= LIMITS.inbox_bytes
    if (!has) this.#run('UPDATE inboxes SET was_full = 1 WHERE inbox = ?', inbox)
    return has
  }

  /** docs/protocol.md#post-v1messagesack-acknowledge */
  ack(inbox, ids) {
    this.#write(() => {
      if (!this.#box(inbox)) refuse('no_inbox')
      const now = this.now()
      for (const id of ids) {
        const old = this.#entry(inbox, id)
        if (old?.text === null) continue // it was read already
        if (old) this.#run('UPDATE inboxes SET was_full = 0 WHERE inbox = ?', inbox)
        const { expires } = old ?? { expires: 0 }
        this.#put(inbox, { id, expires, until: old ? Math.max(expires, now + HOUR) : now + LIMITS.max_retention_seconds })
      }
      while (this.#countRead(inbox) > LIMITS.inbox_read_entries) this.#forgetOldest(inbox)
    })
  }

  #countRead(inbox) {
    return this.#get('SELECT count(*) AS n FROM entries WHERE inbox = ? AND bytes = 0', inbox).n
  }

  #forgetOldest(inbox) {
    const oldest = 'SELECT seq FROM entries WHERE inbox = ? AND bytes = 0 ORDER BY seq LIMIT ?'
    const { last } = this.#get(`SELECT max(seq) AS last FROM (${oldest})`, inbox, FORGOTTEN_AT_ONCE)
    this.#run('DELETE FROM entries WHERE inbox = ? AND bytes = 0 AND seq <= ?', inbox, last)
    this.#run('UPDATE inboxes SET forgotten = ? WHERE inbox = ?', last, inbox)
  }

  /**
   * A page, docs/protocol.md#get-v1messages-list-or-follow. A cursor is three numbers: the inbox's epoch; the last change that was
   * given; and the change from which on it matters what was read, which a list sets to the newest one when it begins.
   */
  page(inbox, cursor, limit) {
    const box = this.#box(inbox) ?? refuse('no_inbox')
    const { seq, since } = cursor === null ? { seq: 0, since: box.seq } : readCursor(cursor, box)
    const rows = this.#sql(`SELECT id, expires, seq, CAST(substr(padded, 1, bytes) AS TEXT) AS text
      FROM entries LEFT JOIN texts ON text = row
      WHERE inbox = ? AND seq > ? AND until > ? AND (text IS NOT NULL OR seq > ?) ORDER BY seq LIMIT ?`)
      .all(inbox, seq, this.now(), since, limit + 1)
    const more = rows.length > limit
    if (more) rows.pop()
    const last = more ? rows.at(-1).seq : box.seq
    return {
      messages: rows.filter(row => row.text !== null).map(({ id, text, expires }) => ({ id, message_id: text, expires })),
      ...(cursor !== null && { read: rows.filter(row => row.text === null).map(row => row.id) }),
      cursor: writeCursor(box.epoch, last, Math.max(last, since)),
      more,
      ...(box.was_full && { notices: ['inbox_full'] }),
    }
  }

  /** docs/protocol.md#put-v1inbox-claim-and-change-settings. True if the inbox is new; `refusal` tells why there must be no new one. */
  settings(token, { retention, accept, contacts, blocked, names }, refusal) {
    const { inbox } = token
    const app = this.hash('app', token.app)
    return this.#write(() => {
      const box = this.#box(inbox)
      if (box && box.app !== app) refuse('bad_token', 'The inbox was claimed for another app.', { member: 'app' })
      this.#useSettingsToken(token)
      const why = box ? null : refusal()
      if (why) refuse('not_registered', why)
      this.#run('INSERT OR IGNORE INTO inboxes VALUES (?, ?, ?, 0, 0, ?, ?, 0)',
        inbox, app, randomBytes(8).toString('hex'), LIMITS.default_retention_seconds, 'names')
      this.#run('UPDATE inboxes SET retention = coalesce(?, retention), accept = coalesce(?, accept) WHERE inbox = ?',
        retention ?? null, accept ?? null, inbox)
      if (contacts) this.#replaceList(inbox, 'contacts', contacts)
      if (blocked) this.#replaceList(inbox, 'blocked', blocked)
      if (names) this.#replaceNames(inbox, names.map(name => this.hash('name', `${token.app} ${name}`)))
      return !box
    })
  }

  #replaceList(inbox, list, addresses) {
    this.#run('DELETE FROM lists WHERE inbox = ? AND list = ?', inbox, list)
    for (const address of addresses) this.#run('INSERT OR IGNORE INTO lists VALUES (?, ?, ?)', inbox, list, this.hash('list', address))
  }

  #replaceNames(inbox, names) {
    this.#run('DELETE FROM names WHERE inbox = ?', inbox)
    for (const name of names) this.#run('INSERT OR REPLACE INTO names VALUES (?, ?)', name, inbox)
  }

  #useSettingsToken({ inbox, iat, request }) {
    const last = this.#get('SELECT * FROM settings_tokens WHERE inbox = ?', inbox)
    if (last && iat < last.iat && request !== last.request) refuse('stale_token')
    this.#run('INSERT OR REPLACE INTO settings_tokens VALUES (?, ?, ?)', inbox, Math.max(iat, last?.iat ?? 0), request)
  }

  /** Within a claim: whether this code was not used before. */
  useInvite(code) {
    return this.#run('INSERT OR IGNORE INTO used_invites VALUES (?)', this.hash('invite', code)) === 1
  }

  describe(inbox) {
    const { retention, accept, was_full } = this.#box(inbox) ?? refuse('no_inbox')
    const { entries, bytes } = this.#unread(inbox)
    const count = list => this.#get('SELECT count(*) AS n FROM lists WHERE inbox = ? AND list = ?', inbox, list).n
    return {
      retention,
      accept,
      contacts: count('contacts'),
      blocked: count('blocked'),
      names: this.#get('SELECT count(*) AS n FROM names WHERE inbox = ?', inbox).n,
      unread: entries,
      read: this.#countRead(inbox),
      quota: {
        entries: LIMITS.inbox_entries, bytes: LIMITS.inbox_bytes, bytes_used: bytes, read_entries: LIMITS.inbox_read_entries,
      },
      push: 0,
      notices: was_full ? ['inbox_full'] : [],
    }
  }

  remove(token) {
    this.#write(() => {
      this.#useSettingsToken(token) // this outlives the inbox, so that a claim from before does not bring it back
      for (const table of ['entries', 'lists', 'names', 'inboxes']) this.#run(`DELETE FROM ${table} WHERE inbox = ?`, token.inbox)
    })
  }

  /** Remove what has expired. */
  sweep() {
    this.#write(() => {
      this.#run(`UPDATE inboxes SET was_full = 0 WHERE was_full = 1
        AND EXISTS (SELECT 1 FROM entries WHERE entries.inbox = inboxes.inbox AND bytes > 0 AND until <= ?)`, this.now())
      this.#run('DELETE FROM entries WHERE until <= ?', this.now())
      this.#run('DELETE FROM settings_tokens WHERE iat < ?', this.now() - REPLAYABLE_SECONDS)
    })
  }
}

function writeCursor(epoch, seq, since) {
  const bytes = Buffer.from(epoch + '00'.repeat(16), 'hex')
  bytes.writeBigUInt64BE(BigInt(seq), 8)
  bytes.writeBigUInt64BE(BigInt(since), 16)
  return bytes.toString('base64url')
}

function readCursor(text, box) {
  const bytes = Buffer.from(text, 'base64url')
  const [seq, since] = [Number(bytes.readBigUInt64BE(8)), Number(bytes.readBigUInt64BE(16))]
  const isOurs = bytes.toString('hex', 0, 8) === box.epoch && seq <= since && since <= box.seq
  return isOurs && since >= box.forgotten ? { seq, since } : refuse('cursor_gone')
}
