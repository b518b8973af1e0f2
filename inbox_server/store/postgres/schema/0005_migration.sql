-- Step 5: inboxes that come from another database, with the change numbers that they have.

-- Whether a server may use this database, or it is part of a migration.
CREATE TABLE migration (
    one   integer PRIMARY KEY CHECK (one = 1),
    mark  bytea NOT NULL,                -- 16 random bytes, the same in both databases of a migration
    state text NOT NULL CHECK (state IN ('source', 'left', 'target', 'whole'))  -- inbox_server/store/migrating.py
);

-- How many timelines the numbers of inboxes from another cluster are ahead of those of this one. Added to its own, so
-- that those given out after a failover are above all that were ever shown, wherever.
CREATE TABLE numbering (
    one   integer PRIMARY KEY CHECK (one = 1),
    ahead bigint NOT NULL
);

CREATE FUNCTION timeline() RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint - 1
$$;

CREATE OR REPLACE FUNCTION top_bits() RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT (timeline() + coalesce((SELECT ahead FROM numbering), 0)) << 41
$$;

-- Before an inbox with this number is taken in.
CREATE FUNCTION keep_ahead(change bigint) RETURNS void LANGUAGE sql AS $$
    INSERT INTO numbering (one, ahead) SELECT 1, (change >> 41) - timeline() WHERE (change >> 41) > timeline()
    ON CONFLICT (one) DO UPDATE SET ahead = greatest(numbering.ahead, excluded.ahead)
$$;

ALTER TABLE migration ALTER mark SET STATISTICS 0;
