// A message inbox server with nothing but Node: docs/protocol.md. This file has its options, its start and its stop.
import { parseArgs } from 'node:util'
import { serve } from './http.mjs'
import { LIMITS } from './limits.mjs'
import { Names } from './names.mjs'
import { Readers } from './readers.mjs'
import { makeRoutes } from './routes.mjs'
import { Store } from './store.mjs'

const OPTIONS = {
  listen: ['127.0.0.1:8080', 'address and port'],
  origin: ['', 'the public URL, such as https://inbox.example; by default http:// and the address'],
  database: ['inbox.db', 'the file; its secret is beside it, and both belong in a backup'],
  names: ['', 'URLs of name services, separated by commas: the next is asked when one fails'],
  invites: ['', 'one-time codes, separated by commas: only who has one may claim'],
  'any-key': [false, 'without invites: any key may claim, not only one with a name'],
  'allow-private': [false, 'let names lead to http and to private addresses, for tests on one machine'],
  limits: ['', 'limits other than those of limits.mjs, such as inbox_entries=500,inbox_read_entries=2000'],
  proxied: [false, 'a proxy in front adds X-Forwarded-For: count requests by its last address'],
  restored: [false, 'the database is a copy from a backup: make the cursors of all inboxes invalid'],
}

/** The options as given, or as `INBOX_` variables: `--any-key` is also `INBOX_ANY_KEY=1`. */
function readOptions() {
  const options = { help: { type: 'boolean' } }
  for (const [name, [value]] of Object.entries(OPTIONS)) {
    const variable = process.env['INBOX_' + name.toUpperCase().replace('-', '_')]
    options[name] = value === false ? { type: 'boolean', default: Boolean(variable) } : { type: 'string', default: variable ?? value }
  }
  try {
    return parseArgs({ options }).values
  } catch (error) {
    return stop(error.message)
  }
}

function stop(text) {
  console.error(`${text} (--help tells the options)`)
  process.exit(2)
}

const options = readOptions()
if (options.help) {
  for (const [name, [value, text]] of Object.entries(OPTIONS)) console.log(`--${name}`.padEnd(18) + text + (value ? ` [${value}]` : ''))
  process.exit()
}
const split = text => text.split(',').filter(Boolean)
const [, host, port] = /^(.+):(\d+)$/.exec(options.listen) ?? stop('--listen needs an address and a port')
const origin = options.origin || new URL(`http://${options.listen}`).origin
if (!URL.canParse(origin) || new URL(origin).origin !== origin) stop(`${origin} is not an origin such as https://inbox.example`)
for (const limit of split(options.limits)) {
  const [, name, value] = /^(\w+)=(\d+)$/.exec(limit) ?? []
  if (!Object.hasOwn(LIMITS, name)) stop(`${limit} is not one of the limits in limits.mjs, with its value`)
  LIMITS[name] = Number(value)
}
const now = () => Math.floor(Date.now() / 1000)

process.umask(0o077)
const store = new Store(options.database, { now, restored: options.restored })
const readers = new Readers()
const names = new Names({ services: split(options.names), allowPrivate: options['allow-private'], now })
const { routes, forgetCounts } = makeRoutes({
  origin, now, store, names, readers, invites: split(options.invites), anyKey: options['any-key'], proxied: options.proxied,
})
const server = serve({ origin, routes, isStopping: () => readers.stopped })

const sweeping = setInterval(() => {
  forgetCounts()
  try {
    store.sweep()
  } catch (error) { // the disk is full, say; what has expired is not listed in any case
    console.error(error)
  }
}, 60000)

for (const signal of ['SIGTERM', 'SIGINT']) {
  process.on(signal, () => {
    readers.stop() // held answers and streams end by themselves now
    clearInterval(sweeping)
    const exit = () => { store.close(); process.exit() }
    server.close(exit)
    setTimeout(exit, 5000)
  })
}

server.on('error', error => stop(`it cannot listen at ${options.listen}: ${error.code}`))
server.listen(Number(port), host.replace(/^\[|\]$/g, ''), () => console.log(`listens at ${options.listen} as ${origin}`))
