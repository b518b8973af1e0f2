-- Step 6: what expires at the end of a day is found by inbox and day, without an index that has every row.

CREATE TABLE due (
    inbox BLOB NOT NULL,                -- an inbox, some of whose rows may have to go ...
    at    INTEGER NOT NULL,             -- ... at this end of a UTC day
    PRIMARY KEY (inbox, at)
) STRICT, WITHOUT ROWID;

CREATE INDEX due_by_at ON due (at);

INSERT INTO due (inbox, at) SELECT DISTINCT inbox, forget_at FROM message WHERE forget_at % 86400 = 86399;

CREATE TRIGGER message_due_when_inserted AFTER INSERT ON message WHEN NEW.forget_at % 86400 = 86399 BEGIN
    INSERT OR IGNORE INTO due (inbox, at) VALUES (NEW.inbox, NEW.forget_at);
END;

CREATE TRIGGER message_due_when_updated AFTER UPDATE OF forget_at ON message WHEN NEW.forget_at % 86400 = 86399 BEGIN
    INSERT OR IGNORE INTO due (inbox, at) VALUES (NEW.inbox, NEW.forget_at);
END;

-- All other rows go at a second of their own: what lived less than a day, and what was read on its last day.
DROP INDEX message_by_forget_at;
CREATE INDEX message_by_forget_at ON message (forget_at) WHERE forget_at % 86400 <> 86399;
