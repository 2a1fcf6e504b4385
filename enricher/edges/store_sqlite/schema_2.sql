-- Version 2: batch mode over records, in the same ledger.
ALTER TABLE batches ADD COLUMN purpose TEXT NOT NULL DEFAULT 'events' CHECK (purpose IN ('events', 'records'));

-- What a task's hash was called, for reports.
CREATE TABLE record_tasks (
    hash TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    seen_at REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE record_runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL,
    task TEXT NOT NULL,
    model TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    input TEXT NOT NULL,
    output TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    columns TEXT NOT NULL,
    key_column TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('reading', 'asking', 'done', 'left')),
    rows INTEGER NOT NULL,
    items INTEGER NOT NULL,
    faults INTEGER NOT NULL,
    text_bytes INTEGER NOT NULL,
    tokens_per_byte REAL NOT NULL,
    began_at REAL NOT NULL,
    ended_at REAL,
    mark TEXT NOT NULL
) STRICT;
CREATE INDEX record_runs_by_job ON record_runs (job, id);

-- Rows of an input, until its output is written; `items` is looked at far more often than `data`.
CREATE TABLE record_chunks (
    run INTEGER NOT NULL REFERENCES record_runs (id),
    number INTEGER NOT NULL,
    items BLOB NOT NULL,
    PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE record_rows (
    run INTEGER NOT NULL,
    number INTEGER NOT NULL,
    data BLOB NOT NULL,
    UNIQUE (run, number)
) STRICT;

-- What a batch asks, as packed references to rows; empty once it is done.
CREATE TABLE record_batches (
    batch INTEGER PRIMARY KEY REFERENCES batches (id),
    run INTEGER NOT NULL REFERENCES record_runs (id),
    items BLOB NOT NULL
) STRICT;

-- By item: a hash of task, model and text, so that each is asked once. Whether one is under way, record_batches tells.
-- Ids are spread evenly, so that a batch touches every page: rows are small, and what was said lies in record_bodies.
CREATE TABLE record_answers (
    item INTEGER PRIMARY KEY,
    status TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    batch INTEGER NOT NULL REFERENCES batches (id),
    place INTEGER NOT NULL
) STRICT;

-- What was said of the items of a batch, or why nothing was, compressed.
CREATE TABLE record_bodies (
    batch INTEGER PRIMARY KEY REFERENCES batches (id),
    data BLOB NOT NULL
) STRICT;
