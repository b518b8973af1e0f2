/** A move that was begun, as it is stored until it is finished. */
import type { Claim } from './settings.js';
import type { State } from './state.js';

export interface Move {
  from: string;
  to: string;
  /** What is asked of the new inbox. */
  settings: Claim;
  /** Whether senders follow the card to the new inbox. */
  isPublished: boolean;
}

export async function unfinished(state: State): Promise<Move | undefined> {
  return (await state.read<Move>('move')).begun;
}

export async function noteMove(state: State, move: Move | undefined): Promise<void> {
  await state.change<Move>('move', (noted) => {
    if (move) noted.begun = move;
    else delete noted.begun;
  });
}

/** Forget the inbox that was left, and have the others told what it was not told yet. */
export async function forgetInbox(state: State, left: string, named: readonly string[]): Promise<void> {
  await state.change<string[]>('acks', (acks) => {
    for (const url of named) if (acks[left]) acks[url] = [...new Set([...(acks[url] ?? []), ...acks[left]])];
    delete acks[left];
  });
  for (const name of ['cursors', 'marks']) await state.change(name, (table) => void delete table[left]);
}
