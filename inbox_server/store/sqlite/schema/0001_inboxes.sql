-- Step 1: inboxes and what waits in them.
-- Nothing here says who sent anything, and no name, address, key, app or URL stands in the clear: where one is
-- needed, its keyed hash stands (inbox_server/identity/keyed_hash.py).

CREATE TABLE inbox (
    inbox           BLOB PRIMARY KEY,   -- keyed hash of the owner's app address, 16 bytes
    app             BLOB NOT NULL,      -- keyed hash of the app it was claimed for, 16 bytes
    generation      BLOB NOT NULL,      -- 8 random bytes, renewed by claim and restore; part of every cursor
    change          INTEGER NOT NULL,   -- the last change number given out; starts at a random number
    horizon         INTEGER NOT NULL,   -- cursors before this number have missed a tombstone that is gone
    retention       INTEGER NOT NULL,   -- seconds that the owner keeps unread entries
    accept          TEXT NOT NULL CHECK (accept IN ('names', 'anyone', 'contacts', 'nobody')),
    unread          INTEGER NOT NULL,   -- entries unread
    unread_bytes    INTEGER NOT NULL,   -- their bytes
    tombstones      INTEGER NOT NULL,   -- entries read, whose id is still remembered
    refused         INTEGER NOT NULL,   -- 1 when a delivery was refused because it was full, until room is made
    settings_at     INTEGER NOT NULL,   -- iat of the last settings token used
    settings_request BLOB NOT NULL       -- keyed hash of the request it came with, 16 bytes
) STRICT, WITHOUT ROWID;

CREATE TABLE name (
    name  BLOB PRIMARY KEY,             -- keyed hash of a proven name and its app, 16 bytes
    inbox BLOB NOT NULL                 -- whose owner proved it
) STRICT, WITHOUT ROWID;

CREATE INDEX name_by_inbox ON name (inbox);

CREATE TABLE listed (
    inbox   BLOB NOT NULL,
    kind    TEXT NOT NULL CHECK (kind IN ('contact', 'blocked')),
    address BLOB NOT NULL,              -- keyed hash of inbox and app address, 16 bytes
    PRIMARY KEY (inbox, kind, address)
) STRICT, WITHOUT ROWID;

-- Clustered by inbox and change number: a row's place says nothing about when it came beside other inboxes' rows.
CREATE TABLE message (
    inbox      BLOB NOT NULL,
    change     INTEGER NOT NULL,        -- grows with every delivery and every acknowledgement in this inbox
    id         BLOB NOT NULL,           -- SHA-256 of the opaque text, 32 bytes
    slot       INTEGER,                 -- where the opaque text is; NULL once read (the row is then a tombstone)
    size       INTEGER NOT NULL,        -- bytes of the text
    expires    INTEGER NOT NULL,        -- as answered to the sender; end of a UTC day when the life is a day or more
    forget_at  INTEGER NOT NULL,        -- when the row goes; later than `expires` only for a tombstone
    PRIMARY KEY (inbox, change)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX message_by_id ON message (inbox, id);
CREATE INDEX message_by_forget_at ON message (forget_at);

-- Texts lie in slots of one size that are written over in place (inbox_server/store/slots.py says why).
CREATE TABLE text (
    slot INTEGER PRIMARY KEY,
    body BLOB NOT NULL                  -- 1,024 bytes: the opaque text as delivered, then zeros; all zeros when free
) STRICT;

CREATE TABLE free_slot (
    slot INTEGER PRIMARY KEY            -- a slot that the next text may have
) STRICT;

-- So many at once that the table has its shape before the first text comes.
WITH RECURSIVE number (slot) AS (SELECT 1 UNION ALL SELECT slot + 1 FROM number WHERE slot < 64)
INSERT INTO text (slot, body) SELECT slot, zeroblob(1024) FROM number;
INSERT INTO free_slot (slot) SELECT slot FROM text;

CREATE TABLE invite (
    code    BLOB PRIMARY KEY,           -- keyed hash of a one-time invite code, 16 bytes
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE secret_check (
    value BLOB PRIMARY KEY              -- keyed hash of nothing: tells whether the secret is the one that made this file
) STRICT, WITHOUT ROWID;
