/** What the server sees: the rows of its database while they change. */
import { byId, element } from './elements.js';
import { isEndOfDay } from './words.js';

const PAUSE_MILLISECONDS = 1000;
const SHOWN_CHARACTERS = 8; // of a hash; all that the page was given of a text
/** What the server is told while it answers, which is in none of its rows. */
const WAYS = {
  signed: { title: 'Told by the last signed delivery', words: 'In memory while it was answered: who sends (iss, key), to whom (sub), in which app. None of it was written down.' },
  sealed: { title: 'Told by the last sealed delivery', words: 'In memory while it was answered: a ticket that the recipient gave, and the recipient’s address. Who sent it is not there: the server cannot tell whose ticket it is.' },
};
const TIMES = new Set(['expires', 'forget_at', 'settings_at']);

/** In the order in which they are shown, each with the columns that tell its rows apart. */
const TABLES = new Map([
  ['message', { key: ['inbox', 'id'], says: 'One row for each delivery: for which inbox, in which order, until when. Who sent it is not there. When it is read its slot is taken away; the hash stays for a while, so that a late repeat is not listed again.' }],
  ['text', { key: ['slot'], says: 'The encrypted message IDs that nobody has read yet. Zeros are written over what was read.' }],
  ['inbox', { key: ['inbox'], says: 'One row for each inbox: its owner and app as keyed hashes, the rules that the owner set, and counts.' }],
  ['name', { key: ['name'], says: 'Names that were proved, as keyed hashes. Without the server’s secret nobody can tell whose they are.' }],
  ['listed', { key: ['inbox', 'kind', 'address'], says: 'Whom owners blocked or listed, as keyed hashes.' }],
  ['sheet', { key: ['inbox', 'week'], says: 'One row for each week for which an owner gave tickets, as keyed hashes, sorted and filled up: whose a ticket is, and how many contacts there are, is not there. What is used is marked.' }],
  ['recent_use', { key: ['page'], says: 'Marks of tickets that were used lately, on their way into the sheets, in no order.' }],
  ['subscription', { key: ['inbox', 'channel', 'id'], says: 'Where owners are told that something waits, sealed under the server’s secret.' }],
  ['free_slot', { key: ['slot'], says: 'Places where the next texts may go.' }],
  ['invite', { key: ['code'], says: 'Invitations that nobody used yet, as keyed hashes.' }],
  ['seen', { key: [], says: 'When the server was last at work, so that it notices a clock that jumps.' }],
  ['secret_check', { key: ['value'], says: 'A keyed hash of nothing: it tells whether the secret is the one that made this database.' }],
]);

export class Rows {
  #world;
  #where;
  #before = new Map();
  #told;
  #timer;
  #isToBeSeen = false;

  constructor(world) {
    this.#world = world;
    this.turnTo(world.inbox_url);
    byId('toggle-rows').addEventListener('click', () => {
      this.#isToBeSeen = byId('rows').hidden;
      this.toggle(byId('rows').hidden);
    });
    document.addEventListener('visibilitychange', () => this.#ask());
  }

  /** Show the rows of this server. */
  turnTo(url) {
    if (this.#where === url) return;
    this.#where = url;
    this.#before.clear();
    byId('rows-where').textContent = `at ${url}`;
    byId('tables').replaceChildren();
    for (const id of ['rows-summary', 'rows-search']) put(id, '');
    void this.#ask();
  }

  toggle(isOpen) {
    byId('rows').hidden = !isOpen;
    byId('main').classList.toggle('beside', isOpen);
    byId('toggle-rows').setAttribute('aria-expanded', String(isOpen));
    sessionStorage.setItem('rows', isOpen ? 'open' : '');
    void this.#ask();
  }

  /** Again and again, also in a window that is behind others: browsers make it rarer there by themselves. */
  async #ask() {
    clearTimeout(this.#timer);
    if (byId('rows').hidden) return;
    const where = this.#where;
    if (!this.#world.inbox_urls.includes(where)) {
      put('rows-summary', 'That server is not of this world, so its rows cannot be shown here.');
      return;
    }
    try {
      const shown = await (await fetch(`rows.json?${new URLSearchParams({ inbox: where })}`)).json();
      if (where === this.#where) this.#show(shown);
    } catch {
      byId('rows-summary').textContent = 'The rows cannot be read: the world has stopped, or is starting again.';
    }
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#ask(), PAUSE_MILLISECONDS);
  }

  #show({ tables, told, searched_for: searchedFor, found }) {
    this.#showTold(told);
    const byName = new Map(tables.map((table) => [table.name, table]));
    put('rows-summary', summary(byName.get('message')));
    put('rows-search', searchWords(searchedFor, found));
    for (const name of [...TABLES.keys(), ...byName.keys()]) {
      const [table, state] = [byName.get(name), JSON.stringify(byName.get(name))];
      if (!table || this.#before.get(name)?.state === state) continue;
      const rows = new Map(table.rows.map((row) => [keyOf(table, row), row]));
      this.#showTable(table, this.#before.get(name)?.rows);
      this.#before.set(name, { state, rows });
    }
    if (!this.#isToBeSeen) return;
    this.#isToBeSeen = false;
    byId('rows').scrollIntoView(); // on a narrow screen it stands below the conversation, and was empty until now
  }

  #showTold(told) {
    if (this.#told === JSON.stringify(told)) return;
    this.#told = JSON.stringify(told);
    byId('told').replaceChildren(...Object.keys(WAYS).filter((way) => told[way]).map((way) => toldSection(way, told[way])));
  }

  #showTable(table, before) {
    const made = section(table, before);
    const old = byId(made.id);
    const scrolled = old?.querySelector('.table')?.scrollLeft ?? 0;
    if (old) old.replaceWith(made);
    else byId('tables').append(made);
    const region = made.querySelector('.table');
    if (region) region.scrollLeft = scrolled;
  }
}

/** What the server read of a delivery, before it forgot it again. */
function toldSection(way, says) {
  const { title, words } = WAYS[way];
  const lines = Object.entries(says).map(([name, value]) =>
    element('tr', {}, element('th', { scope: 'row' }, name), element('td', { title: value }, value)),
  );
  const parts = [element('h3', {}, title), element('p', { class: 'quiet small' }, words)];
  return element('section', { id: `told-${way}` }, ...parts, framed({ name: title }, element('tbody', {}, ...lines)));
}

function put(id, text) {
  if (byId(id).textContent !== text) byId(id).textContent = text;
}

function summary({ columns, rows }) {
  const read = rows.filter((row) => row[columns.indexOf('slot')] === null).length;
  return `${rows.length - read} unread, ${read} read and forgotten.`;
}

function searchWords(searchedFor, found) {
  if (found.length > 0) return `Found in its files, where it should not be: ${found.join(', ')}.`;
  return `Its files were searched for ${searchedFor} names, addresses, keys and URLs of everybody here: none is in them.`;
}

function keyOf({ name, columns }, row) {
  const key = TABLES.get(name)?.key ?? columns;
  return JSON.stringify(key.map((column) => row[columns.indexOf(column)]));
}

/** Rows that are all alike are counted, not shown: empty slots and pages, and the numbers of free slots. */
function section(table, before) {
  const { name, columns, rows } = table;
  const isEmpty = (row) => ['text', 'recent_use'].includes(name) && /^0+…?$/.test(row[1]);
  const shown = name === 'free_slot' ? [] : rows.filter((row) => !isEmpty(row));
  const empty = rows.filter(isEmpty).length;
  const parts = [element('h3', {}, name, ' ', element('span', { class: 'quiet' }, count(rows.length)))];
  parts.push(element('p', { class: 'quiet small' }, TABLES.get(name)?.says ?? ''));
  if (shown.length > 0) parts.push(name === 'inbox' ? upright(table, shown, before) : across(table, shown, before));
  if (name === 'free_slot' && rows.length > 0) parts.push(element('p', { class: 'mono' }, `slot: ${ranges(rows.map(([slot]) => slot))}`));
  if (empty > 0) parts.push(element('p', { class: 'quiet small' }, `${count(empty)}${shown.length > 0 ? ' more' : ''}: nothing but zeros.`));
  if (rows.length === 0) parts.push(element('p', { class: 'mono quiet' }, columns.join(', ')));
  return element('section', { id: `table-${name}` }, ...parts);
}

function count(rows) {
  return `${rows} row${rows === 1 ? '' : 's'}`;
}

/** Columns from left to right. */
function across(table, rows, before) {
  const head = element('tr', {}, ...table.columns.map((column) => element('th', { scope: 'col' }, column)));
  const body = rows.map((row) => {
    const old = before?.get(keyOf(table, row));
    return element('tr', {}, ...row.map((value, at) => cell(table.columns[at], value, isFresh(before, old, value, at))));
  });
  return framed(table, element('thead', {}, head), element('tbody', {}, ...body));
}

/** Columns from top to bottom, for a table of few rows with many of them. */
function upright(table, rows, before) {
  const olds = rows.map((row) => before?.get(keyOf(table, row)));
  const lines = table.columns.map((column, at) =>
    element(
      'tr',
      {},
      element('th', { scope: 'row' }, column),
      ...rows.map((row, number) => cell(column, row[at], isFresh(before, olds[number], row[at], at))),
    ),
  );
  return framed(table, element('tbody', {}, ...lines));
}

function framed({ name }, ...parts) {
  const label = `Rows of ${name}`;
  return element('div', { class: 'table', tabindex: '0', role: 'region', 'aria-label': label }, element('table', {}, ...parts));
}

/** Nothing is fresh when all is shown for the first time. */
function isFresh(before, old, value, at) {
  return before !== undefined && (old === undefined || old[at] !== value);
}

function cell(column, value, fresh) {
  const whole = value === null ? 'NULL' : String(value);
  return element('td', { title: whole, class: fresh && 'fresh' }, value === null ? 'NULL' : shown(column, value));
}

function shown(column, value) {
  if (typeof value === 'number') return TIMES.has(column) ? moment(value) : String(value);
  if (column === 'body') return value;
  return value.length > SHOWN_CHARACTERS ? `${value.slice(0, SHOWN_CHARACTERS)}…` : value;
}

function moment(seconds) {
  return new Date(seconds * 1000).toISOString().slice(0, isEndOfDay(seconds) ? 10 : 16).replace('T', ' ');
}

/** 3, 4, 5, 9 as "3–5, 9". */
function ranges(numbers) {
  const runs = [];
  for (const number of numbers.toSorted((one, other) => one - other)) {
    const last = runs.at(-1);
    if (last && last[1] === number - 1) last[1] = number;
    else runs.push([number, number]);
  }
  return runs.map(([from, to]) => (from === to ? from : `${from}–${to}`)).join(', ');
}
