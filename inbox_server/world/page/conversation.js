/** The conversation with one person: what was said, what became of it, and the box to write in. */
import { button, byId, element } from './elements.js';
import { atTime, connectionWords, deliveryWords, shortName } from './words.js';

const NEAR_END_PIXELS = 80;

export class Conversation {
  #session;
  #names;
  #with;
  #lines = new Map();
  #shown = new Map();

  /** `names`: everybody else, in the order of the world. */
  constructor(session, names) {
    this.#session = session;
    this.#names = names.length > 0 ? names : [session.person.name];
    this.#with = this.#names[0];
    session.history.addEventListener('change', () => this.show());
    session.addEventListener('connection', () => this.#showConnection());
    for (const event of ['focus', 'visibilitychange', 'pointerdown', 'keydown']) addEventListener(event, () => this.look());
    byId('write').addEventListener('submit', (event) => this.#send(event));
    byId('text').addEventListener('keydown', (event) => {
      const isPlain = event.key === 'Enter' && !event.shiftKey && !event.isComposing;
      if (isPlain) this.#send(event);
    });
    this.#showConnection();
    this.turnTo(this.#with);
  }

  turnTo(name) {
    this.#with = name;
    this.#lines.clear();
    byId('messages').replaceChildren();
    const isOwn = name === this.#session.person.name;
    byId('talk-title').textContent = isOwn ? 'Notes to yourself' : name;
    byId('write-label').textContent = isOwn ? 'Message to yourself' : `Message to ${shortName(name)}`;
    byId('second').textContent = `Open a window for ${shortName(name)}`;
    byId('second').href = `#${encodeURIComponent(name)}`;
    byId('second').hidden = isOwn || !this.#session.world.people.some((person) => person.name === name);
    byId('empty').textContent = isOwn
      ? 'Nobody else is in this world. What you write goes all the way to your own inbox and back.'
      : `Nothing yet. Write something: ${shortName(name)}'s window lights up when it is there.`;
    this.show();
    byId('scroll').scrollTop = byId('scroll').scrollHeight;
  }

  /** Bring the page up to what the history holds, touching only what changed. */
  show() {
    const all = this.#session.history.all();
    const messages = all.filter((message) => message.with === this.#with);
    const isAtEnd = this.#isAtEnd();
    byId('empty').hidden = messages.length > 0;
    for (const message of messages) this.#showMessage(message);
    this.#showUnreadable(all.filter((message) => message.unreadable));
    this.#showOthers(all);
    this.#showUnseen(all.filter(isUnseen));
    if (isAtEnd) byId('scroll').scrollTop = byId('scroll').scrollHeight;
    this.look();
  }

  /** What stands on a page that a person has in front of them is seen, and acknowledged. */
  look() {
    if (document.visibilityState !== 'visible' || !document.hasFocus()) return;
    const unseen = this.#session.history.all().filter((message) => isUnseen(message) && message.with === this.#with);
    if (unseen.length > 0) void this.#session.acknowledge(unseen);
  }

  #isAtEnd() {
    const { scrollHeight, scrollTop, clientHeight } = byId('scroll');
    return scrollHeight - scrollTop - clientHeight < NEAR_END_PIXELS;
  }

  #showMessage(message) {
    const state = JSON.stringify(message);
    const before = this.#lines.get(message.key);
    if (before?.state === state) return;
    const line = before?.line ?? this.#addLine(message);
    this.#lines.set(message.key, { state, line });
    line.classList.toggle('new', isUnseen(message));
    line.querySelector('.state').replaceChildren(...(message.isMine ? this.#fate(message) : reading(message)));
  }

  #addLine({ isMine, text, at, with: name }) {
    const who = isMine ? 'You' : shortName(name);
    const line = element(
      'li',
      { class: isMine ? 'message mine' : 'message theirs' },
      element('p', { class: 'by' }, who, ' ', element('time', { datetime: new Date(at).toISOString() }, atTime(at))),
      element('p', { class: 'text', dir: 'auto' }, text),
      element('div', { class: 'state' }),
    );
    byId('messages').append(line);
    return line;
  }

  #fate(message) {
    const lines = deliveryWords(message).map(({ tone, text, marks = [] }) => {
      const spans = marks.flatMap((mark) => [' ', element('span', { class: `receipt ${mark.tone}` }, mark.text)]);
      return element('p', { class: `fate ${tone}` }, text, ...spans);
    });
    const isUnsealed = Object.values(message.outcomes ?? {}).some(({ mayBeSigned }) => mayBeSigned);
    if (isUnsealed) lines.push(button('Let it be signed', () => this.#session.sign(message), { class: 'small-button' }));
    if (message.problem) lines.push(button('Send again', () => this.#session.sendAgain(message), { class: 'small-button' }));
    return lines;
  }

  #showUnreadable(messages) {
    if (!this.#isNews('unreadable', messages)) return;
    byId('unreadable').replaceChildren(
      ...messages.map((message) =>
        element(
          'li',
          {},
          element('p', {}, `A delivery could not be opened. ${message.unreadable}`),
          button('Discard', () => this.#discard(message), { class: 'small-button' }),
        ),
      ),
    );
  }

  async #discard(message) {
    this.#session.history.remove(message.key);
    await this.#session.client.acknowledge([{ id: message.entry }]);
  }

  /** Whoever wrote without being in this world has a conversation, too. */
  #showOthers(all) {
    const strangers = all.map((message) => message.with).filter(Boolean);
    this.#names = [...new Set([...this.#names, ...strangers])];
    const unseen = (name) => all.filter((message) => isUnseen(message) && message.with === name).length;
    const choices = this.#names.map((name) => ({ name, isOpen: name === this.#with, unseen: unseen(name) }));
    if (!this.#isNews('others', choices)) return;
    const hadFocus = byId('others').contains(document.activeElement) && document.activeElement.value;
    byId('others').hidden = choices.length < 2;
    byId('others').replaceChildren(...choices.map((choice) => this.#choice(choice)));
    if (hadFocus) [...byId('others').children].find(({ value }) => value === hadFocus)?.focus();
  }

  #choice({ name, isOpen, unseen }) {
    const made = button(shortName(name), () => this.turnTo(name), { value: name, 'aria-current': isOpen && 'true' });
    if (unseen > 0) made.append(' ', element('span', { class: 'count' }, `${unseen} new`));
    return made;
  }

  /** Whether a part of the page must be made again: what has the focus stays otherwise. */
  #isNews(part, state) {
    const text = JSON.stringify(state);
    if (this.#shown.get(part) === text) return false;
    this.#shown.set(part, text);
    return true;
  }

  #showUnseen(unseen) {
    const { name } = this.#session.person;
    document.title = `${unseen.length > 0 ? `(${unseen.length}) ` : ''}${shortName(name)} – Inbox`;
    document.body.classList.toggle('lit', unseen.length > 0);
  }

  #showConnection() {
    const { tone, text } = connectionWords(this.#session.places);
    byId('connection').className = `connection ${tone}`;
    if (byId('connection').textContent !== text) byId('connection').textContent = text;
  }

  #send(event) {
    event.preventDefault();
    const text = byId('text').value.trim();
    if (text === '') return;
    byId('text').value = '';
    byId('text').focus();
    byId('scroll').scrollTop = byId('scroll').scrollHeight;
    void this.#session.send(this.#with, text);
  }
}

const isUnseen = ({ isMine, isSeen, unreadable }) => !isMine && !isSeen && !unreadable;

function reading({ isSeen, isAcknowledged }) {
  if (isAcknowledged) return [element('p', { class: 'fate' }, 'Signature checked, read, acknowledged')];
  if (isSeen) return [element('p', { class: 'fate open' }, 'Read. Your inbox server hears of it when it can be reached.')];
  return [element('p', { class: 'fate new-mark' }, 'New, signature checked')];
}
