/** What an owner may set at an inbox server, and what it answers. */
export interface InboxSettings {
  retention: number;
  accept: 'names' | 'anyone' | 'contacts' | 'nobody';
  contacts: number;
  blocked: number;
  names: number;
  unread: number;
  /** Entries that were read and are remembered, so that a repeat of them stays read. */
  read?: number;
  quota: { entries: number; bytes: number; bytes_used: number; read_entries?: number };
  /** How many Web Push subscriptions there are. */
  push?: number;
  /** 1 when a Matrix room is told, 0 when none is; only where the server has a bot. */
  matrix?: number;
  /** 1 when a webhook is told, 0 when none is; only with the feature `webhook`. */
  webhook?: number;
  /** The weeks with a sheet of tickets; only with the feature `sealed`. */
  tickets?: number[];
  notices: string[];
}

/** What `claim` may set; what is left out stays as it is. See docs/protocol.md, `PUT /v1/inbox`. */
export interface Claim {
  retention?: number;
  accept?: InboxSettings['accept'];
  contacts?: string[];
  blocked?: string[];
  names?: string[];
  invite?: string;
}
