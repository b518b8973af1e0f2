/** One person at work: their client, what it hears, and what became of what they sent. Tells `connection`, `moving`, `audit` and `notice`. */
import { History } from './history.js';
import { because, notSent, outcomesOf } from './words.js';

const AGAIN_MILLISECONDS = 5000;
const NOWHERE = ''; // instead of an inbox, when not even the own card could be read
const ANSWER_MILLISECONDS = 60_000; // longer than a send can take

export class Session extends EventTarget {
  /** What is known of each own inbox, by its URL. */
  places = new Map();
  #library;
  #listening = new AbortController();
  #turn = Promise.resolve();

  constructor(library, world, person) {
    super();
    this.#library = library;
    this.world = world;
    this.person = person;
    this.history = new History(person.address);
    this.client = new library.InboxClient({
      name: person.name,
      privateKey: person.app_private_key,
      app: person.app,
      hub: world.hub_url,
      associationToken: person.association_token ?? undefined,
      names: [world.names_url],
      storage: localStorage,
    });
  }

  /** Publish key and card and claim the inbox, where that was not done yet; then listen. Throws what went wrong. */
  async join() {
    const names = [this.person.name];
    const [move, reports] = [await this.client.unfinishedMove(), await this.settings()];
    if (!reports) await this.move(this.world.inbox_url);
    else if (!move && reports.some(({ problem }) => problem?.code === 'no_inbox')) await this.client.claim({ names });
    this.#listen();
    if (move) await this.move(move.to); // which a closed window cut off
  }

  /** Where the own inbox is, as far as it is known: the one that is being left, until it is empty. */
  get inbox() {
    return [...this.places.keys()].find((url) => url !== NOWHERE);
  }

  /** A report from each own inbox; undefined where there is no card yet. */
  async settings() {
    try {
      return await this.client.settings();
    } catch (error) {
      if (error.name === 'BadCard') return undefined;
      throw error;
    }
  }

  check(url) {
    return this.#library.check(url);
  }

  /** With everything in it. Cut off anywhere, it is repeated: nothing is lost. */
  async move(url) {
    for await (const { text } of this.client.move(url)) this.#tell('moving', text);
  }

  /** Tells `audit` as well. What was found reaches the conversation like any other message. */
  async audit() {
    const report = await this.client.audit();
    this.#tell('audit', report);
    for (const entry of report.fetched) this.#later(() => this.#take(entry));
    return report;
  }

  lastAudit() {
    return this.client.lastAudit();
  }

  async claim(settings) {
    return this.client.claim(settings);
  }

  async send(to, text) {
    const key = crypto.randomUUID();
    this.history.put({ key, with: to, isMine: true, text, sending: true });
    await this.#deliver(key, to, text);
  }

  async sendAgain({ key, with: to, text }) {
    this.history.update((message) => message.key === key, { sending: true, problem: undefined });
    await this.#deliver(key, to, text);
  }

  /** It could not go sealed, and may tell the server who wrote. */
  async sign({ id }) {
    const report = await this.client.sign(id);
    if (report) this.#merge(report);
  }

  async #deliver(key, to, text) {
    const change = { sending: false, problem: undefined };
    try {
      const report = await this.client.send(to, text);
      Object.assign(change, { id: report.id, outcomes: outcomesOf(report) });
    } catch (error) {
      change.problem = notSent(error, to);
    }
    this.history.update((message) => message.key === key, change);
  }

  /** It was looked at: the server may forget it. One that cannot hear it now hears it later. */
  async acknowledge(messages) {
    const entries = messages.map(({ entry }) => ({ id: entry }));
    if (entries.length === 0) return;
    const isMeant = ({ entry }) => entries.some(({ id }) => id === entry);
    this.history.update(isMeant, { isSeen: true });
    const reports = await this.client.acknowledge(entries);
    if (reports.every(({ problem }) => !problem)) this.history.update(isMeant, { isAcknowledged: true });
  }

  #listen() {
    this.#listening.abort();
    this.#listening = new AbortController();
    this.places = new Map();
    this.#tell('connection');
    void this.#follow(this.#listening.signal);
  }

  async #follow(signal) {
    this.#markInterrupted();
    setTimeout(() => this.#markInterrupted(), ANSWER_MILLISECONDS);
    while (!signal.aborted) {
      try {
        for await (const news of this.client.watch({ signal })) this.#hear(news);
      } catch (problem) {
        this.places = new Map([[NOWHERE, { isUp: false, problem, retrySeconds: AGAIN_MILLISECONDS / 1000 }]]);
        this.#tell('connection');
      }
      if (!signal.aborted) await new Promise((resolve) => setTimeout(resolve, AGAIN_MILLISECONDS));
    }
  }

  #hear(news) {
    if (news.kind === 'message') this.#later(() => this.#take(news.entry));
    else if (news.kind === 'read') this.#markRead(news.id);
    else if (news.kind === 'sent') this.#merge(news.report);
    else if (news.kind === 'notice') this.#tell('notice', news.notice);
    else if (news.kind === 'without_server') this.#tell('notice', news.kind);
    else if (news.kind === 'audit') this.#tell('audit', news.report);
    else if (news.kind === 'card' || (news.kind === 'sheets' && !news.problem.isForNow)) this.#tell('notice', because(news.problem));
    else if (/^(up|down|left)$/.test(news.kind)) this.#place(news);
  }

  #place({ kind, inbox, problem, retrySeconds }) {
    this.places.delete(NOWHERE);
    if (kind === 'left') this.places.delete(inbox);
    else this.places.set(inbox, { isUp: kind === 'up', problem, retrySeconds });
    this.#tell('connection');
    if (kind !== 'up') return;
    const untold = this.history.all().filter(({ entry, isSeen, isAcknowledged }) => entry && isSeen && !isAcknowledged);
    this.#later(() => this.acknowledge(untold));
  }

  /** One after another, in the order in which they came. */
  #later(work) {
    this.#turn = this.#turn.then(work).catch((error) => this.#tell('notice', because(error)));
  }

  /** Fetch and verify what an entry leads to. What was taken before, here or in another window, is not taken twice. */
  async #take({ id: entry, messageId, found }) {
    const known = this.history.find((message) => message.entry === entry);
    if (known) return known.isSeen ? this.acknowledge([known]) : undefined;
    try {
      const { id, from, content } = await this.client.fetch({ id: entry, messageId, found });
      const key = `${from} ${id}`;
      if (this.history.find((message) => message.key === key)) return this.acknowledge([{ entry }]); // sent twice
      const text = typeof content === 'string' ? content : `(${content.length} bytes that are not text)`;
      this.history.put({ key, entry, with: from, text });
    } catch (error) {
      if (error.isForNow) setTimeout(() => this.#later(() => this.#take({ id: entry, messageId, found })), AGAIN_MILLISECONDS);
      else this.history.put({ key: entry, entry, unreadable: because(error) });
    }
  }

  /** Read here or on another device. What could not be opened and was discarded elsewhere goes, too. */
  #markRead(entry) {
    const known = this.history.find((message) => message.entry === entry);
    if (known?.unreadable) this.history.remove(known.key);
    else this.history.update((message) => message.entry === entry, { isSeen: true, isAcknowledged: true });
  }

  /** Another try for what waited: inboxes that the report does not name stay as they were. */
  #merge(report) {
    const sent = this.history.find((message) => message.id === report.id);
    if (sent) this.history.update(({ key }) => key === sent.key, { outcomes: { ...sent.outcomes, ...outcomesOf(report) } });
  }

  /** Sent long ago and no answer was noted: the window that waited for it is gone. */
  #markInterrupted() {
    const isOld = ({ isMine, sending, at }) => isMine && sending && Date.now() - at > ANSWER_MILLISECONDS;
    const problem = 'The window was closed before there was an answer: it may have been sent or not.';
    this.history.update(isOld, { sending: false, problem });
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
