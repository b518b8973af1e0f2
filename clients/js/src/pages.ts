/** What an inbox lists for its owner. */
import { sha256 } from '@noble/hashes/sha2.js';

import { toBase64Url, toUtf8 } from './bytes.js';
import { Unreachable } from './errors.js';
import { isBytes } from './receipts.js';
import type { UnixTime } from './tokens.js';

/** What a server holds for its owner. */
export interface Listed {
  /** base64url(SHA-256(messageId)): the same on every server. */
  id: string;
  /** The encrypted pointer, which `fetch` follows. */
  messageId: string;
  expires: UnixTime;
  /** For an entry that no inbox listed, and that was found in its sender's index: which message it is. `messageId` is then empty. */
  found?: { id: string; from: string; n: number };
}

export interface Page {
  messages: Listed[];
  /** What was read since the cursor, on any device. */
  read: string[];
  cursor: string;
  /** Whether another page is there now. */
  more: boolean;
  notices: string[];
  /** By the `id` that the server says, where it lists another message's text under it: no honest server does. */
  swapped: string[];
}

/** Throws `Unreachable` for what is no page. The IDs are computed here, because a server could send wrong ones. */
export function readPage(document: Record<string, unknown>): Page {
  const { messages, read = [], cursor, more, notices = [] } = document;
  if (!Array.isArray(messages) || !isTexts(read) || !isTexts(notices) || typeof cursor !== 'string') {
    throw new Unreachable('The answer is not a page of the protocol.');
  }
  const listed = messages.map(readListed);
  const swapped = messages.flatMap(({ id }, at) => (id === listed[at]?.id ? [] : [String(id)]));
  // An id that is none would make another inbox refuse all that are acknowledged with it.
  return { messages: listed, read: read.filter((id) => isBytes(id, 32)), cursor, more: more === true, notices, swapped };
}

function readListed(listed: Record<string, unknown> | null): Listed {
  const messageId = listed?.message_id;
  if (typeof messageId !== 'string' || !Number.isSafeInteger(listed?.expires)) {
    throw new Unreachable('The answer is not a page of the protocol.');
  }
  return { id: idOf(messageId), messageId, expires: Number(listed?.expires) };
}

/** The `id` that every server lists a message ID by. */
export function idOf(messageId: string): string {
  return toBase64Url(sha256(toUtf8(messageId)));
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((each) => typeof each === 'string');
}
