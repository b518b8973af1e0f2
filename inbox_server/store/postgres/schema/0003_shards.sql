-- Step 3: several clusters, each with some of 256 shards. The first byte of an inbox's hash is the number of its shard.

-- Tells one cluster from another, wherever it is reached.
CREATE TABLE cluster (
    one integer PRIMARY KEY CHECK (one = 1),
    id  bytea NOT NULL                   -- 16 random bytes
);

-- Which cluster has a shard: in the first cluster only, and empty while there is one.
CREATE TABLE shard (
    number  integer PRIMARY KEY,
    cluster bytea NOT NULL,
    target  bytea                        -- the cluster that it is being moved to
);

-- The shards that are not here, or are about to go: a process that has not heard of it yet must not answer for them.
CREATE TABLE away (
    shard integer PRIMARY KEY
);

-- Names are looked for in all clusters, and the newest claim wins.
ALTER TABLE name ADD COLUMN claimed bigint NOT NULL DEFAULT 0;

-- Whose claim an invite was taken for, until it is done: the inbox may be in another cluster.
ALTER TABLE invite ADD COLUMN inbox bytea;
