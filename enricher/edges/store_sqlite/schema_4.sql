-- Version 4: a year of files and windows leaves little behind.

-- Identities of files that went so long ago that their rows are let go: a file that starts as one of them did is another
-- generation of it, or its events would have the ids of those.
CREATE TABLE past_identities (
    source TEXT NOT NULL,
    identity TEXT NOT NULL,
    gone_at REAL NOT NULL,
    PRIMARY KEY (source, identity)
) STRICT, WITHOUT ROWID;

-- Of an old window one row of window_files is left, without a path, with the sums of all; and how many kinds it had.
ALTER TABLE window_signatures ADD COLUMN let_go INTEGER NOT NULL DEFAULT 0;
