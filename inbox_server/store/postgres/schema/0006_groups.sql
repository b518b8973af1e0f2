-- Step 6: texts that are gone for their owner are marked, and covered later (covering.py); deliveries and
-- acknowledgements, a group of them in one round trip.

ALTER TABLE blank_text RENAME TO gone_text;
ALTER INDEX blank_text_by_day RENAME TO gone_text_by_day;
ALTER TABLE gone_text ADD covered boolean NOT NULL DEFAULT false;   -- its row is one of zeros
ALTER TABLE text ALTER inbox SET STORAGE PLAIN, ALTER id SET STORAGE PLAIN;  -- also beside zeros for half a page

-- The first statement of each locks the inboxes' rows, in the order of their keys, so that no two groups wait for each
-- other. The others have a snapshot that is younger than the locks: they see what another process has just committed.
-- Rows are looked at by inbox and in order of arrival; numbers and room are reckoned in variables, and written at the end.
-- Numbers are given out under the lock, which is held until the commit is over: no reader sees N + 1 before N.
-- An inbox whose shard is away counts as none: a process that has not heard of a move must not write into its copy.

-- As inbox_log.next_head. The bytes are a 1 and the name of the log; PostgreSQL would not inline `convert_to`.
CREATE OR REPLACE FUNCTION next_head(head bytea, n bigint, id bytea) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT sha256('\x016d6573736167652d696e626f782d6c6f67'::bytea || head || int8send(n) || id)
$$;

-- verdict: 0 a repeat, good until `granted`; 1 kept; 2 to be done alone; 3 no inbox; 4 draining.
-- `log_until` is NULL for what is not logged, else the end of the day until which the log keeps it, and `log_kept` the
-- second. `log_length` is that of the inbox's log afterwards.
CREATE OR REPLACE FUNCTION deliver(
    inboxes bytea[], ids bytea[], sizes integer[], lives bigint[], bodies bytea[],
    log_kept bigint[], log_until bigint[],
    tickets bytea[], marks bytea[], first_weeks integer[], last_weeks integer[],
    quota_entries integer, quota_bytes bigint
) RETURNS TABLE (number bigint, verdict integer, granted bigint, log_length bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    one record;
    locked integer;
    is_draining boolean;
    elsewhere integer[];    -- the shards that are away
    here_bits bigint;
    found integer := 0;     -- inboxes that are there
    here bytea;             -- the inbox that the variables up to `new_bytes` are of
    here_change bigint;
    here_n bigint;
    here_head bytea;
    here_until bigint;
    new_entries integer := 0;
    new_bytes bigint := 0;
    seen bytea[];           -- its ids in this group, and its tickets
    used bytea[];
    kept integer := 0;
    -- By number; NULL for what is not kept, not logged, has no ticket.
    changes bigint[] := array_fill(NULL::bigint, ARRAY[cardinality(ids)]);
    ns bigint[] := array_fill(NULL::bigint, ARRAY[cardinality(ids)]);
    weeks integer[];
    l_inbox bytea[] := '{}'; l_n bigint[] := '{}'; l_until bigint[] := '{}';
    u_inbox bytea[] := '{}'; u_change bigint[] := '{}'; u_entries integer[] := '{}'; u_bytes bigint[] := '{}';
    u_n bigint[] := '{}'; u_head bytea[] := '{}'; u_until bigint[] := '{}';
BEGIN
    PERFORM FROM inbox x WHERE x.inbox = ANY (inboxes) ORDER BY x.inbox FOR UPDATE;
    GET DIAGNOSTICS locked = ROW_COUNT;
    SELECT EXISTS (SELECT FROM draining), ARRAY (SELECT shard FROM away),
            (timeline() + coalesce((SELECT ahead FROM numbering), 0)) << 41  -- as top_bits(), which is not inlined
        INTO is_draining, elsewhere, here_bits;
    IF is_draining THEN
        RETURN QUERY SELECT d.number, 4, 0::bigint, 0::bigint FROM unnest(ids) WITH ORDINALITY AS d (id, number);
        RETURN;
    END IF;
    FOR one IN
        SELECT d.*, x.inbox IS NOT NULL AND get_byte(d.inbox, 0) <> ALL (elsewhere) AS there,
            greatest(x.change, here_bits + x.change % (1::bigint << 41)) AS change,
            coalesce(x.most_entries, quota_entries) - x.unread AS free_entries,
            coalesce(x.most_bytes, quota_bytes) - x.unread_bytes AS free_bytes,
            x.log_n, x.log_head, x.log_until AS marked_until, x.base_n, m.expires AS kept_until,
            CASE WHEN d.ticket IS NOT NULL THEN (
                SELECT t.week FROM ticket t
                WHERE t.inbox = d.inbox AND t.week BETWEEN d.first_week AND d.last_week AND t.ticket = d.ticket
                    AND t.mark IS NULL
                LIMIT 1
            ) END AS week
        FROM unnest(inboxes, ids, sizes, lives, log_kept, log_until, tickets, first_weeks, last_weeks)
            WITH ORDINALITY AS d (inbox, id, size, life, kept, until, ticket, first_week, last_week, number)
            LEFT JOIN inbox x ON x.inbox = d.inbox
            LEFT JOIN message m ON m.inbox = d.inbox AND m.id = d.id
        ORDER BY d.inbox, d.number
    LOOP
        IF one.inbox IS DISTINCT FROM here THEN
            IF new_entries > 0 THEN
                u_inbox := u_inbox || here; u_change := u_change || here_change; u_entries := u_entries || new_entries;
                u_bytes := u_bytes || new_bytes; u_n := u_n || here_n; u_head := u_head || here_head;
                u_until := u_until || here_until;
            END IF;
            here := one.inbox;
            found := found + (one.change IS NOT NULL)::integer;
            here_change := one.change;
            here_n := one.log_n;
            here_head := one.log_head;
            here_until := one.marked_until;
            new_entries := 0; new_bytes := 0; seen := '{}'; used := '{}';
        END IF;
        number := one.number;
        granted := one.life;
        IF NOT one.there THEN
            verdict := 3;
        ELSIF one.kept_until IS NOT NULL AND one.kept_until >= one.life AND one.ticket IS NULL THEN
            verdict := 0;
            granted := one.kept_until;
        ELSIF one.kept_until IS NOT NULL OR one.id = ANY (seen)
            OR new_entries >= one.free_entries OR new_bytes + one.size > one.free_bytes
            OR (one.ticket IS NOT NULL AND (one.week IS NULL OR one.ticket = ANY (used)))
        THEN
            verdict := 2;
        ELSE
            verdict := 1;
            kept := kept + 1;
            here_change := here_change + 1;
            changes[number] := here_change;
            new_entries := new_entries + 1;
            new_bytes := new_bytes + one.size;
            seen := seen || one.id;
            IF one.until IS NOT NULL THEN
                here_n := here_n + 1;
                ns[number] := here_n;
                here_head := next_head(here_head, here_n, one.id);
                IF one.kept > here_until THEN  -- the first of its day
                    here_until := one.until;
                    l_inbox := l_inbox || here; l_n := l_n || here_n; l_until := l_until || here_until;
                END IF;
            END IF;
            IF one.ticket IS NOT NULL THEN
                used := used || one.ticket;
                weeks := coalesce(weeks, array_fill(NULL::integer, ARRAY[cardinality(ids)]));
                weeks[number] := one.week;
            END IF;
            log_length := here_n - one.base_n;
        END IF;
        RETURN NEXT;
    END LOOP;
    IF found > locked THEN  -- one was claimed since they were locked
        RAISE serialization_failure;
    END IF;
    IF kept = 0 THEN
        -- Of a repeat, the first may wait for a standby yet. A record of our own makes this commit wait for it too.
        PERFORM pg_logical_emit_message(true, 'repeat', '');
        RETURN;
    END IF;
    IF new_entries > 0 THEN
        u_inbox := u_inbox || here; u_change := u_change || here_change; u_entries := u_entries || new_entries;
        u_bytes := u_bytes || new_bytes; u_n := u_n || here_n; u_head := u_head || here_head;
        u_until := u_until || here_until;
    END IF;
    INSERT INTO text (inbox, id, day, body)
        SELECT k.inbox, k.id, (k.expires / 86400)::integer, k.body
        FROM unnest(inboxes, ids, lives, bodies, changes) AS k (inbox, id, expires, body, change)
        WHERE k.change IS NOT NULL
        -- One that is gone, and comes again, has its row yet: it is only locked, so that nobody lays zeros over it. To
        -- write it anew would leave a copy in the file, and to fail would leave copies of the others.
        ON CONFLICT (inbox, id, day) DO UPDATE SET body = excluded.body WHERE false;
    INSERT INTO message (inbox, change, id, day, size, expires, forget_at, n)
        SELECT k.inbox, k.change, k.id, (k.expires / 86400)::integer, k.size, k.expires, k.expires, k.n
        FROM unnest(inboxes, changes, ids, sizes, lives, ns) AS k (inbox, change, id, size, expires, n)
        WHERE k.change IS NOT NULL;
    IF cardinality(l_n) > 0 THEN
        INSERT INTO log_mark (inbox, n, until) SELECT * FROM unnest(l_inbox, l_n, l_until);
    END IF;
    IF weeks IS NOT NULL THEN
        UPDATE ticket t SET mark = u.mark
            FROM unnest(inboxes, weeks, tickets, marks) AS u (inbox, week, ticket, mark)
            WHERE t.inbox = u.inbox AND t.week = u.week AND t.ticket = u.ticket;
    END IF;
    UPDATE inbox x SET change = u.change, unread = x.unread + u.entries, unread_bytes = x.unread_bytes + u.bytes,
            log_n = u.n, log_head = u.head, log_until = u.until
        FROM unnest(u_inbox, u_change, u_entries, u_bytes, u_n, u_head, u_until)
            AS u (inbox, change, entries, bytes, n, head, until)
        WHERE x.inbox = u.inbox;
END $$;

-- verdict: 1 done; 3 no inbox. `remembered` is how many tombstones the inbox has afterwards. What is unknown is
-- remembered until `memory`; a tombstone at least until `short_memory`.
DROP FUNCTION IF EXISTS acknowledge(bytea[], bytea[], bigint[], bigint[], bytea);
CREATE FUNCTION acknowledge(
    inboxes bytea[], ids bytea[], memories bigint[], short_memories bigint[]
) RETURNS TABLE (number bigint, verdict integer, remembered integer) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    one record;
    locked integer;
    elsewhere integer[];
    here_bits bigint;
    found integer := 0;
    here bytea;
    here_change bigint;
    here_tombstones integer;
    here_read integer := 0;     -- of this inbox: unread entries that were read, their bytes, and all that is new
    here_bytes bigint := 0;
    here_new integer := 0;
    seen bytea[];
    r_inbox bytea[] := '{}'; r_old bigint[] := '{}'; r_new bigint[] := '{}'; r_forget bigint[] := '{}';
    r_id bytea[] := '{}'; r_day integer[] := '{}';
    p_inbox bytea[] := '{}'; p_change bigint[] := '{}'; p_id bytea[] := '{}'; p_forget bigint[] := '{}';
    u_inbox bytea[] := '{}'; u_change bigint[] := '{}'; u_read integer[] := '{}'; u_bytes bigint[] := '{}';
    u_new integer[] := '{}';
BEGIN
    PERFORM FROM inbox x WHERE x.inbox = ANY (inboxes) ORDER BY x.inbox FOR UPDATE;
    GET DIAGNOSTICS locked = ROW_COUNT;
    SELECT ARRAY (SELECT shard FROM away), (timeline() + coalesce((SELECT ahead FROM numbering), 0)) << 41
        INTO elsewhere, here_bits;
    FOR one IN
        SELECT d.*, x.inbox IS NOT NULL AND get_byte(d.inbox, 0) <> ALL (elsewhere) AS there, x.change AS last,
             x.tombstones, m.change, m.day, m.size, m.expires
        FROM unnest(inboxes, ids, memories, short_memories)
            WITH ORDINALITY AS d (inbox, id, memory, short_memory, number)
            LEFT JOIN inbox x ON x.inbox = d.inbox
            LEFT JOIN message m ON m.inbox = d.inbox AND m.id = d.id
        ORDER BY d.inbox, d.number
    LOOP
        IF one.inbox IS DISTINCT FROM here THEN
            IF here_new > 0 THEN
                u_inbox := u_inbox || here; u_change := u_change || here_change; u_read := u_read || here_read;
                u_bytes := u_bytes || here_bytes; u_new := u_new || here_new;
            END IF;
            here := one.inbox;
            found := found + (one.last IS NOT NULL)::integer;
            here_change := greatest(one.last, here_bits + one.last % (1::bigint << 41));
            here_tombstones := one.tombstones;
            here_read := 0; here_bytes := 0; here_new := 0; seen := '{}';
        END IF;
        number := one.number;
        verdict := CASE WHEN one.there THEN 1 ELSE 3 END;
        IF one.there AND one.id IS NOT NULL AND NOT one.id = ANY (seen) THEN
            seen := seen || one.id;
            IF one.change IS NULL THEN
                here_change := here_change + 1;
                here_new := here_new + 1;
                p_inbox := p_inbox || here; p_change := p_change || here_change; p_id := p_id || one.id;
                p_forget := p_forget || one.memory;
            ELSIF one.day IS NOT NULL THEN
                here_change := here_change + 1;
                here_new := here_new + 1;
                here_read := here_read + 1;
                here_bytes := here_bytes + one.size;
                r_inbox := r_inbox || here; r_old := r_old || one.change; r_new := r_new || here_change;
                r_forget := r_forget || greatest(one.expires, one.short_memory);
                r_id := r_id || one.id; r_day := r_day || one.day;
            END IF;
        END IF;
        remembered := here_tombstones + here_new;
        RETURN NEXT;
    END LOOP;
    IF found > locked THEN
        RAISE serialization_failure;
    END IF;
    IF here_new > 0 THEN
        u_inbox := u_inbox || here; u_change := u_change || here_change; u_read := u_read || here_read;
        u_bytes := u_bytes || here_bytes; u_new := u_new || here_new;
    END IF;
    IF cardinality(u_new) = 0 THEN
        PERFORM pg_logical_emit_message(true, 'repeat', '');  -- as in `deliver`
        RETURN;
    END IF;
    INSERT INTO gone_text (inbox, id, day) SELECT * FROM unnest(r_inbox, r_id, r_day);
    UPDATE message m SET change = r.new, day = NULL, size = 0, forget_at = r.forget
        FROM unnest(r_inbox, r_old, r_new, r_forget) AS r (inbox, old, new, forget)
        WHERE m.inbox = r.inbox AND m.change = r.old;
    INSERT INTO message (inbox, change, id, day, size, expires, forget_at)
        SELECT p.inbox, p.change, p.id, NULL, 0, 0, p.forget
        FROM unnest(p_inbox, p_change, p_id, p_forget) AS p (inbox, change, id, forget);
    UPDATE inbox x SET change = u.change, unread = x.unread - u.read, unread_bytes = x.unread_bytes - u.bytes,
            tombstones = x.tombstones + u.new, refused = x.refused AND u.read = 0
        FROM unnest(u_inbox, u_change, u_read, u_bytes, u_new) AS u (inbox, change, read, bytes, new)
        WHERE x.inbox = u.inbox;
END $$;
