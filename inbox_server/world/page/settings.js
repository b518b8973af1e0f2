/** The settings panel: where one's inbox is, and what its server shall do. */
import { byId, element } from './elements.js';
import { auditWords, because, hostOf } from './words.js';

const DAY_SECONDS = 86_400;
const RETENTIONS = [3600, DAY_SECONDS, 7 * DAY_SECONDS, 30 * DAY_SECONDS, 90 * DAY_SECONDS];

export class Settings {
  #session;
  #blockedName;
  #isMoving = false;

  constructor(session, names) {
    this.#session = session;
    this.#blockedName = `inbox-page:${session.person.address}:blocked`;
    byId('open-settings').addEventListener('click', () => this.#open());
    byId('close-settings').addEventListener('click', () => byId('settings').close());
    byId('check').addEventListener('click', () => this.#check());
    byId('place').addEventListener('submit', (event) => this.#savePlace(event));
    byId('policy').addEventListener('submit', (event) => this.#savePolicy(event));
    byId('audit-now').addEventListener('click', () => this.#audit());
    session.addEventListener('audit', ({ detail }) => showAudit(detail));
    session.addEventListener('moving', ({ detail }) => say('place-said', 'open', detail));
    const urls = session.world.inbox_urls;
    byId('servers').replaceChildren(...urls.map((value) => element('option', { value })));
    byId('url-servers').textContent = `In this world: ${urls.join(' and ')}`;
    this.#makeBlocked(names);
  }

  async #open() {
    for (const id of this.#isMoving ? ['policy-said'] : ['place-said', 'policy-said']) say(id, '', '');
    byId('settings').showModal();
    byId('url').focus();
    await this.#show();
  }

  /** Nothing that a person typed meanwhile is written over, and no rule can be changed before it is known. */
  async #show() {
    setEnabled(false);
    showAudit(await this.#session.lastAudit());
    const before = byId('url').value;
    try {
      const [report] = (await this.#session.settings()) ?? [];
      if (byId('url').value === before) byId('url').value = report?.inbox ?? this.#session.world.inbox_url;
      if (report?.result) this.#showPolicy(report.result);
      else if (report) say('policy-said', 'bad', because(report.problem));
    } catch (error) {
      say('policy-said', 'bad', because(error));
    }
  }

  #showPolicy({ accept, retention, unread, quota, names }) {
    byId('accept').value = accept;
    const choices = [...new Set([...RETENTIONS, retention])].sort((one, other) => one - other);
    byId('retention').replaceChildren(...choices.map((seconds) => element('option', { value: seconds }, span(seconds))));
    byId('retention').value = retention;
    const proven = names === 1 ? 'Your name is proved there.' : `${names} names are proved there.`;
    setEnabled(true);
    byId('use').textContent = `${unread} unread of ${quota.entries.toLocaleString('en-GB')} that fit. ${proven}`;
  }

  /** The server's origin when it will do; what is wrong is said. */
  async #check() {
    say('place-said', 'open', 'Checking…');
    const { ok, origin, dropped, problems, capabilities } = await this.#session.check(byId('url').value);
    const left = dropped ? `“${dropped}” was left out, for only the server's address counts. ` : '';
    if (!ok) say('place-said', 'bad', left + problems.join(' '));
    else say('place-said', 'good', `${left}${hostOf(origin)} is an inbox server, and its clock agrees. ${whoMayClaim(capabilities)}`);
    return ok ? origin : undefined;
  }

  async #audit() {
    byId('audit-now').disabled = true;
    say('audit-said', 'open', 'Auditing…');
    try {
      await this.#session.audit();
    } catch (error) {
      say('audit-said', 'bad', because(error));
    } finally {
      byId('audit-now').disabled = false;
    }
  }

  async #savePlace(event) {
    event.preventDefault();
    if (this.#isMoving) return;
    const origin = await this.#check();
    if (!origin) return;
    say('place-said', 'open', `${hostOf(origin)} will do. Saving…`);
    this.#isMoving = true;
    try {
      await this.#session.move(origin);
      byId('url').value = origin;
      say('place-said', 'good', `Saved: your inbox is at ${hostOf(origin)}, with all that was unread, and your card says so.`);
      await this.#show();
    } catch (error) {
      say('place-said', 'bad', `${because(error)} Nothing is lost: save again to go on.`);
    } finally {
      this.#isMoving = false;
    }
  }

  async #savePolicy(event) {
    event.preventDefault();
    say('policy-said', 'open', 'Saving…');
    const boxes = [...byId('blocked').querySelectorAll('input')];
    const blocked = boxes.filter((box) => box.checked).map((box) => box.value);
    const accept = byId('accept').value;
    try {
      const [{ problem }] = await this.#session.claim({ accept, retention: Number(byId('retention').value), blocked });
      if (problem) throw problem;
      localStorage.setItem(this.#blockedName, JSON.stringify(blocked));
      say('policy-said', 'good', 'Saved.');
    } catch (error) {
      say('policy-said', 'bad', `Not saved: ${because(error)}`);
    }
  }

  #makeBlocked(names) {
    const remembered = JSON.parse(localStorage.getItem(this.#blockedName) ?? '[]');
    const others = this.#session.world.people.filter(({ name }) => names.includes(name));
    byId('blocked-field').hidden = others.length === 0;
    byId('blocked').replaceChildren(
      ...others.map(({ name, address }) => {
        const box = element('input', { type: 'checkbox', value: address, checked: remembered.includes(address) });
        return element('label', {}, box, ` ${name}`);
      }),
    );
  }
}

function setEnabled(enabled) {
  for (const each of byId('policy').elements) each.disabled = !enabled;
}

function showAudit(report) {
  const { tone, text, details } = report ? auditWords(report) : { tone: '', text: 'Not audited yet.', details: [] };
  say('audit-said', tone, text);
  byId('audit-details').replaceChildren(...details.map((each) => element('li', {}, each)));
}

function say(id, tone, text) {
  byId(id).className = `said ${tone}`;
  byId(id).textContent = text;
}

function whoMayClaim({ registration }) {
  if (registration === 'open') return 'It takes everyone.';
  if (registration === 'invite') return 'It wants an invitation, which this page cannot give.';
  return 'It takes only those whom its operator listed.';
}

function span(seconds) {
  const [amount, unit] = seconds < DAY_SECONDS ? [seconds / 3600, 'hour'] : [seconds / DAY_SECONDS, 'day'];
  return `${Number(amount.toFixed(1))} ${unit}${amount === 1 ? '' : 's'}`;
}
