/** What happened, in words for the person who looks at it. */

const time = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });
const timeWithSeconds = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const dayAndTime = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'long', hour: '2-digit', minute: '2-digit' });
const day = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'long', timeZone: 'UTC' });
const DAY_SECONDS = 86_400;

export const atTime = (milliseconds) => time.format(milliseconds);
export const hostOf = (url) => (URL.canParse(url) ? new URL(url).host : url);

/** alice.id is shown as Alice, beside the whole name where it matters. */
export function shortName(name) {
  const first = name.split('.')[0];
  return first.length > 24 ? `${first.slice(0, 12)}…` : first.charAt(0).toUpperCase() + first.slice(1);
}

/** What became of a sent message: `{tone, text}` for each inbox of its recipient, or for the message as a whole. */
export function deliveryWords({ sending, problem, outcomes = {} }) {
  if (problem) return [{ tone: 'bad', text: problem }];
  if (sending) return [{ tone: 'open', text: 'Sending…' }];
  return Object.entries(outcomes).map(([inbox, outcome]) => outcomeWords(hostOf(inbox), outcome));
}

function outcomeWords(host, { kind, expires, receipt, way, because, notBefore }) {
  if (kind === 'stored') {
    const marks = [receiptWords(receipt), WAYS[way]].filter(Boolean);
    return { tone: 'good', text: `Stored at ${host}, ${untilWords(expires)}.`, marks };
  }
  if (kind === 'refused') return { tone: 'bad', text: `Refused by ${host}: ${because}` };
  const next = timeWithSeconds.format(notBefore * 1000);
  return { tone: 'open', text: `Not delivered yet: ${because} It is tried again by itself, after ${next}.` };
}

/** How much the server learned: with a ticket nothing says who sends. */
const WAYS = {
  sealed: { tone: 'good', text: 'Sealed: the server does not know who wrote' },
  'signed, first contact': { tone: 'quiet', text: 'Signed, first contact: the server saw who wrote' },
  signed: { tone: 'quiet', text: 'Signed: the server saw who wrote' },
};

/** `receipt`: `kept`, what is wrong with it, or nothing where none was asked for. */
function receiptWords(receipt) {
  if (receipt === 'kept') return { tone: 'good', text: 'Receipt kept' };
  return receipt && { tone: 'bad', text: `Receipt not kept: ${receipt}` };
}

function untilWords(expires) {
  const when = isEndOfDay(expires) ? day.format(expires * 1000) : timeWithSeconds.format(expires * 1000);
  return `until ${when} or until it is read`;
}

/** Servers say the last second of a UTC day for what lives a day or more. */
export function isEndOfDay(seconds) {
  return seconds % DAY_SECONDS === DAY_SECONDS - 1;
}

/** A client's report, as it is kept: an outcome for each inbox. */
export function outcomesOf({ stored, waiting, refused }) {
  return Object.fromEntries([
    ...stored.map(({ inbox, expires, signed, unsigned, way }) => [inbox, { kind: 'stored', expires, receipt: signed ? 'kept' : unsigned, way }]),
    ...waiting.map(({ inbox, problem, notBefore }) => {
      return [inbox, { kind: 'waiting', because: because(problem), notBefore, mayBeSigned: problem.code === 'no_tickets' }];
    }),
    ...refused.map(({ inbox, problem }) => [inbox, { kind: 'refused', because: because(problem) }]),
  ]);
}

/** What servers refuse, for people: by `code`, which is stable. */
const REFUSALS = {
  not_accepted: 'They do not take messages from you, or have no inbox there any more.',
  name_unproven: 'The server could not see that a name leads to its key.',
  channel_unavailable: 'The service that would tell you cannot be asked at the moment.',
  names_unavailable: 'The server cannot look names up at the moment.',
  not_registered: 'That server does not take your inbox. Ask whoever runs it.',
  suspended: 'The operator of that server has suspended your inbox. Ask there.',
  draining: 'That server takes nothing new. It will be tried again, also where they have moved to.',
  no_inbox: 'You have no inbox there.',
  inbox_full: 'The inbox is full until its owner reads something.',
  storage_full: 'The server has no room at the moment.',
  too_many: 'That was too much at once. The server takes more in a while.',
  moving: 'The server is moving the inbox to another database.',
  stopping: 'The server is being stopped or started again.',
  internal: 'The server failed. Tell whoever runs it if it stays so.',
  stale_token: 'Another window or device changed the settings just now. Open the settings again.',
  ttl_passed: 'It arrived after its time was over.',
};

/** Why something did not happen, as a sentence. */
export function because(error) {
  const text = REFUSALS[error.code] ?? error.detail ?? error.message;
  return /[.!?…]$/.test(text) ? text : `${text}.`;
}

export function notSent(error, recipient) {
  if (error.name === 'BadCard') {
    return `Not sent to ${recipient}: ${because(error)} Open this page as them in another window, then send again.`;
  }
  return `Not sent to ${recipient}: ${because(error)}`;
}

const VERDICTS = {
  accounted: { tone: 'good', text: 'everything is accounted for' },
  missing: { tone: 'bad', text: 'something is missing or was changed' },
  unchecked: { tone: 'open', text: 'something could not be checked, or was only in its sender’s own storage' },
};

/** An audit's report, in words: `{tone, text}` as a whole, and a sentence for each kind of finding at each server. */
export function auditWords({ at, verdict, entries, receipts, findings, fetched, unread }) {
  const { tone, text } = VERDICTS[verdict];
  const looked = `${count(entries, 'log entry', 'log entries')} and ${count(receipts, 'receipt', 'receipts')} of contacts looked at.`;
  const found = fetched.length > 0 ? ` ${count(fetched.length, 'message', 'messages')} found in contacts' own storage.` : '';
  const kinds = new Map();
  for (const finding of findings) {
    const key = `${finding.inbox ? `${hostOf(finding.inbox)}: ` : ''}${finding.text}`;
    kinds.set(key, (kinds.get(key) ?? 0) + 1);
  }
  const details = [...kinds].map(([key, times]) => (times > 1 ? `${key} (${times} times)` : key));
  details.push(...unread.map(({ from, problem }) => `What ${from} keeps for you could not be read: ${problem.message}`));
  return { tone, text: `${dayAndTime.format(at * 1000)}: ${text}. ${looked}${found}`, details };
}

function count(number, one, many) {
  return `${number.toLocaleString('en-GB')} ${number === 1 ? one : many}`;
}

/** `places`: what is known of each own inbox, by its URL. */
export function connectionWords(places) {
  const [down] = [...places].filter(([, place]) => !place.isUp);
  if (places.size === 0) return { tone: 'open', text: 'Connecting…' };
  if (!down) return { tone: 'good', text: `Listening at ${[...places.keys()].map(hostOf).join(' and ')}` };
  const [url, { problem, retrySeconds }] = down;
  const soon = retrySeconds < 1 ? 'at once' : `in ${Math.ceil(retrySeconds)} s`;
  const reason = because(problem);
  const where = reason.includes(hostOf(url)) ? '' : `${hostOf(url)}: `;
  return { tone: 'bad', text: `${where}${reason} Connecting again ${soon}.` };
}

export const NOTICES = {
  inbox_full: 'Your inbox was full, and deliveries were refused. Read or discard something.',
  suspended: 'The operator of your inbox server lets nothing in. You can still read, and move to another server.',
  matrix_gone: 'Your Matrix room is no longer told that something waits.',
  webhook_gone: 'Your webhook is no longer told that something waits.',
  audit: 'Your inbox server hides something or has changed it, an audit says. The settings say what was found.',
  without_server: 'Your inbox server cannot be reached. New messages are looked for in your contacts’ own storage.',
  push_gone: 'A push subscription of yours does not work any more and was removed.',
};
