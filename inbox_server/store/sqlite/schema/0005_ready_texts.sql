-- Step 5: a text lies in its slot as it is listed, so that SQLite can write a page of the list.

-- characters that the text has in its slot, with quotes and backslashes escaped; NULL if that did not fit there, so that it
-- lies there as it was delivered (and when it was read)
ALTER TABLE message ADD COLUMN listed INTEGER;

-- The old table goes as a whole, because rows that grow would move and leave pieces of themselves behind
-- (docs/decisions/0005-texts-in-slots.md). What a dropped table leaves is written over with zeros.
CREATE TABLE ready_text (
    slot INTEGER PRIMARY KEY,
    body BLOB NOT NULL                  -- 1,083 bytes, zeros when free; else the id in base64url, `","message_id":"`, the
                                        -- opaque text as it is listed, then zeros. Three rows have a page of the file.
) STRICT;

CREATE INDEX message_by_slot ON message (slot);  -- for the next two statements only
UPDATE message SET listed = (
    SELECT length(replace(replace(CAST(substr(body, 1, size) AS TEXT), '\', '\\'), '"', '\"')) FROM text
    WHERE text.slot = message.slot
) WHERE slot IS NOT NULL;
UPDATE message SET listed = NULL WHERE listed > 1024;
INSERT INTO ready_text (slot, body)
SELECT text.slot, iif(
    message.id IS NULL,
    zeroblob(1083),
    CAST(base64url(message.id) || '","message_id":"' || iif(
        listed IS NULL,
        CAST(substr(body, 1, size) AS TEXT),
        replace(replace(CAST(substr(body, 1, size) AS TEXT), '\', '\\'), '"', '\"')
    ) || zeroblob(1083 - 59 - coalesce(listed, size)) AS BLOB)
)
FROM text LEFT JOIN message USING (slot) ORDER BY text.slot;
DROP INDEX message_by_slot;

-- Up to the end of a page.
WITH RECURSIVE number (slot) AS (
    SELECT max(slot) + 1 FROM text UNION ALL SELECT slot + 1 FROM number WHERE slot % 3 <> 0
)
INSERT INTO ready_text (slot, body) SELECT slot, zeroblob(1083) FROM number;
INSERT INTO free_slot (slot) SELECT slot FROM ready_text WHERE slot > (SELECT max(slot) FROM text);
DROP TABLE text;
ALTER TABLE ready_text RENAME TO text;
