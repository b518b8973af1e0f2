-- Step 1: inboxes and what waits in them, as in SQLite's schema; what differs is said here.
-- Nothing here says who sent anything, and no name, address, key, app or URL stands in the clear: where one is
-- needed, its keyed hash stands, 16 bytes (inbox_server/identity/keyed_hash.py). Times are seconds since 1970, UTC.
-- Every key begins with the inbox, and no statement crosses two: an inbox can live on any of several clusters.
-- Columns of bytes have no statistics: ANALYZE would copy values to pg_statistic, where they outlive their rows.

CREATE TABLE inbox (
    inbox            bytea PRIMARY KEY,
    app              bytea NOT NULL,
    generation       bytea NOT NULL,     -- 8 random bytes
    change           bigint NOT NULL,    -- the last change number; the timeline of the cluster is in its top bits
    horizon          bigint NOT NULL,    -- cursors before this number have missed a tombstone that is gone
    retention        bigint NOT NULL,
    accept           text NOT NULL CHECK (accept IN ('names', 'anyone', 'contacts', 'nobody')),
    unread           integer NOT NULL DEFAULT 0,
    unread_bytes     bigint NOT NULL DEFAULT 0,
    tombstones       integer NOT NULL DEFAULT 0,
    refused          boolean NOT NULL DEFAULT false,
    gone             text NOT NULL DEFAULT '',
    settings_at      bigint NOT NULL,
    settings_request bytea NOT NULL,
    log_n            bigint NOT NULL,    -- the log's last number, its head, the latest `until` of its marks, its base
    log_head         bytea NOT NULL,
    log_until        bigint NOT NULL DEFAULT 0,
    base_n           bigint NOT NULL,
    base_head        bytea NOT NULL,
    restored         integer,            -- UTC day on which a copy was last put back
    most_entries     integer,            -- the operator's quota for this inbox
    most_bytes       bigint
) WITH (fillfactor = 50);                -- room for new versions of a row in its page: nothing but the key is indexed

CREATE TABLE message (
    inbox     bytea NOT NULL,
    change    bigint NOT NULL,
    id        bytea NOT NULL,            -- SHA-256 of the opaque text, 32 bytes
    day       integer,                   -- the day of its text, on which it expires; NULL once read (a tombstone)
    size      integer NOT NULL,          -- bytes of the text as delivered
    expires   bigint NOT NULL,
    forget_at bigint NOT NULL,
    n         bigint,                    -- its number in the log; NULL when it is not logged
    PRIMARY KEY (inbox, change)
);

CREATE UNIQUE INDEX message_by_id ON message (inbox, id);
CREATE INDEX message_by_forget_at ON message (forget_at);

-- Texts are sealed under the key of their day (day_keys.py), and covered with zeros once they are gone
-- for their owner (covering.py). A table for each day: what expired goes with its table.
CREATE TABLE text (
    inbox bytea NOT NULL,
    id    bytea NOT NULL,
    day   integer NOT NULL,              -- days since 1970
    body  bytea NOT NULL,                -- sealing.py says what is in it
    PRIMARY KEY (inbox, id, day)
) PARTITION BY RANGE (day);

-- Texts that were written over, whose rows may go once their table was vacuumed.
CREATE TABLE blank_text (
    inbox bytea NOT NULL,
    id    bytea NOT NULL,
    day   integer NOT NULL
);

CREATE INDEX blank_text_by_day ON blank_text (day);

CREATE TABLE logged (
    inbox bytea NOT NULL,
    n     bigint NOT NULL,
    id    bytea NOT NULL,
    PRIMARY KEY (inbox, n)
);

CREATE TABLE log_mark (
    inbox bytea NOT NULL,
    n     bigint NOT NULL,               -- entries from this number to the next mark's ...
    until bigint NOT NULL,               -- ... may go when this end of a UTC day is over
    PRIMARY KEY (inbox, n)
);

CREATE INDEX log_mark_by_until ON log_mark (until);

CREATE TABLE listed (
    inbox   bytea NOT NULL,
    kind    text NOT NULL CHECK (kind IN ('contact', 'blocked')),
    address bytea NOT NULL,
    PRIMARY KEY (inbox, kind, address)
);

CREATE TABLE subscription (
    inbox   bytea NOT NULL,
    channel text NOT NULL,
    id      bytea NOT NULL,
    sealed  bytea NOT NULL,
    PRIMARY KEY (inbox, channel, id)
);

CREATE TABLE sheet (
    inbox bytea NOT NULL,
    week  integer NOT NULL,              -- weeks since 1970
    PRIMARY KEY (inbox, week)
);

CREATE INDEX sheet_by_week ON sheet (week);

-- The tickets of sheets, and those that were used and are not on the newest sheet of their week.
CREATE TABLE ticket (
    inbox  bytea NOT NULL,
    week   integer NOT NULL,
    ticket bytea NOT NULL,               -- keyed hash of its id
    mark   bytea,                        -- keyed hash of it and of what it was used for; NULL while it was not
    PRIMARY KEY (inbox, week, ticket)
);

CREATE TABLE suspended (
    inbox bytea PRIMARY KEY
);

-- What is found by a key of its own, apart from any inbox.

CREATE TABLE name (
    name  bytea PRIMARY KEY,
    inbox bytea NOT NULL
);

CREATE INDEX name_by_inbox ON name (inbox);

CREATE TABLE invite (
    code    bytea PRIMARY KEY,
    expires bigint NOT NULL
);

-- What there is once in a cluster.

CREATE TABLE draining (
    one integer PRIMARY KEY CHECK (one = 1)
);

CREATE TABLE seen (
    one  integer PRIMARY KEY CHECK (one = 1),
    time bigint NOT NULL
);

CREATE TABLE secret_check (
    value bytea PRIMARY KEY
);

-- By which a server sees that its chain of day keys is the one that sealed these texts.
CREATE TABLE day_check (
    day   integer PRIMARY KEY,
    value bytea NOT NULL
);

DO $$
DECLARE
    each record;
BEGIN
    FOR each IN
        SELECT table_name, column_name FROM information_schema.columns
        WHERE table_schema = current_schema() AND data_type = 'bytea'
    LOOP
        EXECUTE format('ALTER TABLE %I ALTER COLUMN %I SET STATISTICS 0', each.table_name, each.column_name);
    END LOOP;
END $$;

-- The timeline grows with each failover, and is in the top bits of a number. So numbers that are given out after one are
-- above all that were ever shown, also those of commits that the new primary never had. The 41 bits below go on: an
-- inbox begins with 40 random ones.
CREATE FUNCTION top_bits() RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT (('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint - 1) << 41
$$;

CREATE FUNCTION next_change(last bigint) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT greatest(last, top_bits() + last % (1::bigint << 41)) + 1
$$;
