/** Claiming own inboxes, and changing their settings. */
import type { Made } from './beginnings.js';
import type { Own, Report } from './own.js';
import type { Claim, InboxSettings } from './settings.js';
import type { Sheets } from './sheets.js';
import type { State } from './state.js';

export interface Claimed extends Report<InboxSettings> {
  /** Where it made the inbox. After `claimed_again`, `publish` and `audit`: what was unread there is found in its senders' buckets. */
  code?: Made;
}

/** At `inboxes`, or else at each of the card. What a new inbox gets beside `settings` is what the others were last given. */
export async function claim(
  { own, state, sheets }: { own: Own; state: State; sheets: Sheets },
  settings: Claim,
  inboxes: readonly string[] | undefined,
): Promise<Claimed[]> {
  const before: Claim = { ...(await state.read<never>('settings')) };
  const reports = await own.each((inbox) => inbox.claim(settings, before), inboxes);
  const { invite, ...kept } = settings;
  if (reports.some(({ result }) => result)) await state.change('settings', (known) => void Object.assign(known, kept));
  await sheets.noteBlocked(own.now());
  return reports.map(({ result, ...report }) => {
    if (!result) return report;
    return { ...report, result: result.settings, ...(result.made ? { code: result.made } : {}) };
  });
}
