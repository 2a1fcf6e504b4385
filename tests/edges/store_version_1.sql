-- Version 1 of the store. Times are epoch seconds, windows are named by their start, money is in USD.
-- What grows with the lines (segments, spool, segment_panes, pane_kinds) is deleted when a pane is done; what is kept
-- for ever grows with kinds of event, windows, requests and files.

-- The books: one row of sums, so that a summary scans nothing. read_events = written + dead + pending.
CREATE TABLE books (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    read_lines INTEGER NOT NULL DEFAULT 0,
    read_events INTEGER NOT NULL DEFAULT 0,
    blank_lines INTEGER NOT NULL DEFAULT 0,
    dropped_lines INTEGER NOT NULL DEFAULT 0,
    lost_bytes INTEGER NOT NULL DEFAULT 0,
    written_events INTEGER NOT NULL DEFAULT 0,
    dead_events INTEGER NOT NULL DEFAULT 0,
    spool_bytes INTEGER NOT NULL DEFAULT 0,
    signatures INTEGER NOT NULL DEFAULT 0,
    input_tokens INTEGER NOT NULL DEFAULT 0,
    cached_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    cost_usd REAL NOT NULL DEFAULT 0
) STRICT;
INSERT INTO books (id) VALUES (1);

-- Device and inode are text: they are unsigned 64-bit numbers, which an SQLite integer cannot hold.
CREATE TABLE files (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    source TEXT NOT NULL,
    path BLOB NOT NULL,
    device TEXT NOT NULL,
    inode TEXT NOT NULL,
    birth TEXT NOT NULL,
    head_bytes INTEGER NOT NULL,
    head_hash BLOB NOT NULL,
    marker BLOB NOT NULL,
    codec TEXT NOT NULL,
    generation INTEGER NOT NULL,
    identity TEXT NOT NULL,
    position INTEGER NOT NULL,
    partial BLOB NOT NULL,
    anchor REAL,
    learned INTEGER,
    size_seen INTEGER NOT NULL,
    mtime_seen REAL NOT NULL,
    gone_at REAL
) STRICT;
CREATE INDEX files_by_identity ON files (source, identity, path);

-- root is the shape that has the signature which this one resolves to now, and the signature's template, which is of no
-- meaning elsewhere; events are those ever read. A kind that is skipped came from a source whose breaker was open: nothing is paid for it.
CREATE TABLE shapes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    format TEXT NOT NULL,
    level TEXT NOT NULL,
    program TEXT NOT NULL,
    skeleton TEXT NOT NULL,
    root INTEGER NOT NULL,
    template TEXT NOT NULL,
    created_at REAL NOT NULL,
    last_seen_at REAL,
    events INTEGER NOT NULL DEFAULT 0,
    skipped INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX shapes_by_root ON shapes (root);

-- Sums over the shapes of each class, kept by triggers in the transaction that changes a shape, so that the first of
-- a million signatures are found by an index. A class moves to another root as a whole.
CREATE TABLE classes (
    root INTEGER PRIMARY KEY,
    events INTEGER NOT NULL,
    shapes INTEGER NOT NULL,
    first_seen_at REAL NOT NULL,
    last_seen_at REAL
) STRICT;
CREATE INDEX classes_by_events ON classes (events DESC, root);
CREATE INDEX classes_by_first_seen ON classes (first_seen_at, root);

CREATE TRIGGER shapes_begin AFTER INSERT ON shapes WHEN new.root != 0 BEGIN
    INSERT INTO classes (root, events, shapes, first_seen_at, last_seen_at)
    VALUES (new.root, new.events, 1, new.created_at, new.last_seen_at)
    ON CONFLICT (root) DO UPDATE SET events = events + excluded.events, shapes = shapes + 1,
        first_seen_at = min(first_seen_at, excluded.first_seen_at),
        last_seen_at = nullif(max(ifnull(last_seen_at, 0.0), ifnull(excluded.last_seen_at, 0.0)), 0.0);
END;

CREATE TRIGGER shapes_join AFTER UPDATE OF root ON shapes WHEN new.root != old.root BEGIN
    UPDATE classes SET events = events - old.events, shapes = shapes - 1 WHERE root = old.root;
    DELETE FROM classes WHERE root = old.root AND shapes = 0;
    INSERT INTO classes (root, events, shapes, first_seen_at, last_seen_at)
    VALUES (new.root, new.events, 1, new.created_at, new.last_seen_at)
    ON CONFLICT (root) DO UPDATE SET events = events + excluded.events, shapes = shapes + 1,
        first_seen_at = min(first_seen_at, excluded.first_seen_at),
        last_seen_at = nullif(max(ifnull(last_seen_at, 0.0), ifnull(excluded.last_seen_at, 0.0)), 0.0);
END;

CREATE TRIGGER shapes_met AFTER UPDATE OF events ON shapes BEGIN
    UPDATE classes SET events = events + new.events - old.events,
        last_seen_at = max(ifnull(last_seen_at, 0.0), ifnull(new.last_seen_at, 0.0)) WHERE root = new.root;
END;

CREATE TABLE shape_sources (
    shape INTEGER NOT NULL REFERENCES shapes (id),
    source TEXT NOT NULL,
    PRIMARY KEY (shape, source)
) STRICT, WITHOUT ROWID;

-- Append-only: replaying the rows in order, each joining the classes of the shapes in `joined`, gives roots and templates.
-- `members` and `template` are the merge as it was found. One with a reason in `refused` was not made, since answers of
-- its members disagree: it joined nothing.
CREATE TABLE aliases (
    revision INTEGER PRIMARY KEY AUTOINCREMENT,
    members TEXT NOT NULL,
    template TEXT NOT NULL,
    joined TEXT NOT NULL,
    root INTEGER NOT NULL REFERENCES shapes (id),
    merged_at REAL NOT NULL,
    refused TEXT NOT NULL DEFAULT '',
    UNIQUE (members, template)
) STRICT;

-- Shapes that took part in a merge that was refused; `newcomers` were kept out since, `rest` is where those behind the
-- limit meet.
CREATE TABLE pins (
    shape INTEGER PRIMARY KEY REFERENCES shapes (id),
    newcomers INTEGER NOT NULL DEFAULT 0,
    rest INTEGER REFERENCES shapes (id)
) STRICT;

-- Signatures split by the value of a slot. Append-only: the newest row of a signature counts, and one without a slot ends
-- the split. `template` is the one that the slots of the answer were named for, `hole` the slot's number in it, from 1.
CREATE TABLE splits (
    revision INTEGER PRIMARY KEY AUTOINCREMENT,
    signature TEXT NOT NULL,
    level TEXT NOT NULL,
    program TEXT NOT NULL,
    slot TEXT NOT NULL,
    hole INTEGER NOT NULL,
    template TEXT NOT NULL,
    split_at REAL NOT NULL
) STRICT;
CREATE INDEX splits_by_signature ON splits (signature, revision);

-- Shapes that were split off the signature `parent`: its events whose slot has a value of the bucket.
CREATE TABLE split_children (
    shape INTEGER PRIMARY KEY REFERENCES shapes (id),
    parent TEXT NOT NULL,
    slot TEXT NOT NULL,
    bucket TEXT NOT NULL
) STRICT;
CREATE INDEX split_children_by_parent ON split_children (parent);

-- Templates that a model gave, wider than those it was shown; append-only, and of no use where the signature has no answer
-- any more. `open` lists the places of tokens in which other words may stand.
CREATE TABLE matchers (
    revision INTEGER PRIMARY KEY AUTOINCREMENT,
    signature TEXT NOT NULL,
    template TEXT NOT NULL,
    open TEXT NOT NULL,
    made_at REAL NOT NULL,
    UNIQUE (signature, template)
) STRICT;

-- A row for each source whose breaker was ever open.
CREATE TABLE breakers (
    source TEXT PRIMARY KEY,
    is_open INTEGER NOT NULL,
    changed_at REAL NOT NULL,
    trips INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Ids are never used twice (AUTOINCREMENT): decoded segments are remembered by them.
CREATE TABLE segments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    source TEXT NOT NULL,
    file_id INTEGER NOT NULL,
    path BLOB NOT NULL,
    identity TEXT NOT NULL,
    generation INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    lost_bytes INTEGER NOT NULL,
    windows TEXT NOT NULL,
    lines INTEGER NOT NULL,
    data_bytes INTEGER NOT NULL,
    index_bytes INTEGER NOT NULL,
    spooled_bytes INTEGER NOT NULL,
    read_at REAL NOT NULL,
    anchor REAL,
    fallback REAL NOT NULL,
    time_rule TEXT NOT NULL
) STRICT;

-- Apart from segments, so that putting segments in order reads no blobs.
CREATE TABLE spool (
    segment INTEGER PRIMARY KEY REFERENCES segments (id) ON DELETE CASCADE,
    data BLOB NOT NULL,
    shapes BLOB NOT NULL,
    window_index BLOB
) STRICT;

CREATE TABLE panes (
    start INTEGER NOT NULL,
    number INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'closed', 'done')),
    first_event_at REAL NOT NULL,
    closed_at REAL,
    how TEXT,
    events INTEGER NOT NULL,
    lines INTEGER NOT NULL,
    task TEXT,
    model TEXT,
    rounds INTEGER NOT NULL DEFAULT 0,
    done_at REAL,
    PRIMARY KEY (start, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX panes_by_state ON panes (state, start, number);

-- kinds: uint32 triples (shape, events, lines) of the pane's events in the segment.
CREATE TABLE segment_panes (
    start INTEGER NOT NULL,
    pane INTEGER NOT NULL,
    segment INTEGER NOT NULL REFERENCES segments (id),
    events INTEGER NOT NULL,
    lines INTEGER NOT NULL,
    kinds BLOB NOT NULL,
    PRIMARY KEY (start, pane, segment)
) STRICT;
CREATE INDEX segment_panes_by_segment ON segment_panes (segment, start, pane);

-- The events of a pane by shape and, once a round has them, what they are written with.
CREATE TABLE pane_kinds (
    start INTEGER NOT NULL,
    pane INTEGER NOT NULL,
    shape INTEGER NOT NULL REFERENCES shapes (id),
    events INTEGER NOT NULL,
    lines INTEGER NOT NULL,
    round INTEGER,
    signature TEXT,
    template TEXT,
    status TEXT,
    answer INTEGER REFERENCES answers (id),
    PRIMARY KEY (start, pane, shape)
) STRICT, WITHOUT ROWID;

CREATE TABLE requests (
    id TEXT PRIMARY KEY,
    task TEXT NOT NULL,
    model TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    body BLOB NOT NULL,
    tokens INTEGER NOT NULL,
    reserved_usd REAL NOT NULL,
    window INTEGER NOT NULL,
    state TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    batch INTEGER REFERENCES batches (id),
    position INTEGER NOT NULL DEFAULT 0,
    error TEXT NOT NULL DEFAULT '',
    input_tokens INTEGER NOT NULL DEFAULT 0,
    cached_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    cost_usd REAL NOT NULL DEFAULT 0,
    changed_at REAL NOT NULL
) STRICT;
CREATE INDEX requests_by_state ON requests (state);
CREATE INDEX requests_by_batch ON requests (batch, position);
CREATE INDEX requests_by_window ON requests (window);

CREATE TABLE request_signatures (
    request TEXT NOT NULL REFERENCES requests (id),
    position INTEGER NOT NULL,
    signature TEXT NOT NULL,
    template TEXT NOT NULL,
    PRIMARY KEY (request, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX request_signatures_by_signature ON request_signatures (signature);

CREATE TABLE batches (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    job TEXT NOT NULL UNIQUE,
    window INTEGER NOT NULL,
    part INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    windows INTEGER NOT NULL,
    task TEXT NOT NULL,
    model TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    state TEXT NOT NULL,
    requests INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    reserved_usd REAL NOT NULL,
    digests INTEGER NOT NULL,
    input_file_id TEXT,
    batch_id TEXT,
    status TEXT,
    outcome TEXT,
    planned_at REAL NOT NULL,
    intent_at REAL,
    created_at REAL,
    expires_at REAL,
    next_at REAL NOT NULL,
    failures INTEGER NOT NULL,
    looks INTEGER NOT NULL,
    error TEXT,
    input_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cost_usd REAL NOT NULL,
    collected_at REAL
) STRICT;
CREATE INDEX batches_by_window ON batches (window, part);
CREATE INDEX batches_by_state ON batches (state);
CREATE INDEX batches_by_end ON batches (collected_at);

-- Which batches carried requests of a window: a request itself knows only its last one.
CREATE TABLE batch_windows (
    window INTEGER NOT NULL,
    batch INTEGER NOT NULL REFERENCES batches (id),
    PRIMARY KEY (window, batch)
) STRICT, WITHOUT ROWID;

-- A newer answer is a new row and the old one stays, since rounds that were fixed with it are written with it. Its age
-- counts from confirmed_at: when it came, or when it was last asked for again, even in vain.
CREATE TABLE answers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    signature TEXT NOT NULL,
    task TEXT NOT NULL,
    model TEXT NOT NULL,
    served_model TEXT NOT NULL,
    status TEXT NOT NULL,
    body TEXT NOT NULL,
    batch_id TEXT NOT NULL,
    answered_at REAL NOT NULL,
    origin TEXT NOT NULL DEFAULT 'asked' CHECK (origin IN ('asked', 'imported')),
    template TEXT NOT NULL DEFAULT '',
    confirmed_at REAL NOT NULL,
    refresh INTEGER NOT NULL DEFAULT 0,
    is_current INTEGER NOT NULL DEFAULT 1
) STRICT;
CREATE UNIQUE INDEX answers_by_key ON answers (signature, task, model) WHERE is_current;
CREATE INDEX answers_by_severity ON answers (json_extract(body, '$.severity')) WHERE is_current AND status = 'ok';

-- How many answers that are current have a status, and how many requests are in a state: a summary counts no rows.
CREATE TABLE tallies (
    what TEXT NOT NULL,
    value TEXT NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (what, value)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER answers_begin AFTER INSERT ON answers WHEN new.is_current BEGIN
    INSERT INTO tallies (what, value, number) VALUES ('answers', new.status, 1)
    ON CONFLICT (what, value) DO UPDATE SET number = number + 1;
END;

CREATE TRIGGER answers_end AFTER UPDATE OF is_current ON answers WHEN old.is_current AND NOT new.is_current BEGIN
    UPDATE tallies SET number = number - 1 WHERE what = 'answers' AND value = old.status;
END;

CREATE TRIGGER requests_begin AFTER INSERT ON requests BEGIN
    INSERT INTO tallies (what, value, number) VALUES ('requests', new.state, 1)
    ON CONFLICT (what, value) DO UPDATE SET number = number + 1;
END;

CREATE TRIGGER requests_change AFTER UPDATE OF state ON requests WHEN old.state != new.state BEGIN
    UPDATE tallies SET number = number - 1 WHERE what = 'requests' AND value = old.state;
    INSERT INTO tallies (what, value, number) VALUES ('requests', new.state, 1)
    ON CONFLICT (what, value) DO UPDATE SET number = number + 1;
END;

-- What a model said of a window, by its start; a failure's status where it said nothing that can be used.
CREATE TABLE accounts (
    start INTEGER PRIMARY KEY,
    status TEXT NOT NULL,
    body TEXT NOT NULL,
    task TEXT NOT NULL,
    model TEXT NOT NULL,
    served_model TEXT NOT NULL,
    batch_id TEXT NOT NULL,
    answered_at REAL NOT NULL
) STRICT;

CREATE TABLE account_deliveries (
    start INTEGER NOT NULL REFERENCES accounts (start),
    sink TEXT NOT NULL,
    PRIMARY KEY (start, sink)
) STRICT, WITHOUT ROWID;

-- Labelled lines, asked to judge the task: the answers of the latest day, and the figures of every day.
CREATE TABLE gold_answers (
    signature TEXT PRIMARY KEY,
    status TEXT NOT NULL,
    body TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE gold_scores (
    day TEXT PRIMARY KEY,
    score TEXT NOT NULL,
    scored_at REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE token_limits (
    model TEXT PRIMARY KEY,
    tokens INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE parts (
    start INTEGER NOT NULL,
    number INTEGER NOT NULL,
    pane INTEGER NOT NULL,
    round INTEGER NOT NULL,
    first INTEGER NOT NULL,
    events INTEGER NOT NULL,
    PRIMARY KEY (start, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX parts_by_pane ON parts (start, pane, round, number);

-- is_dead: it lies among the dead letters, since the sink had refused too much for too long.
CREATE TABLE deliveries (
    start INTEGER NOT NULL,
    number INTEGER NOT NULL,
    sink TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    events INTEGER NOT NULL,
    lines INTEGER NOT NULL,
    filtered INTEGER NOT NULL,
    delivered_at REAL NOT NULL,
    is_dead INTEGER NOT NULL,
    PRIMARY KEY (start, number, sink),
    FOREIGN KEY (start, number) REFERENCES parts (start, number)
) STRICT, WITHOUT ROWID;

-- Why a sink takes nothing, since when; no row for one that took the last that it was offered.
CREATE TABLE sink_troubles (
    sink TEXT PRIMARY KEY,
    error TEXT NOT NULL,
    hint TEXT NOT NULL,
    since REAL NOT NULL
) STRICT, WITHOUT ROWID;

-- What is kept of a window beyond the life of its spool.
CREATE TABLE window_files (
    start INTEGER NOT NULL,
    path BLOB NOT NULL,
    identity TEXT NOT NULL,
    generation INTEGER NOT NULL,
    first_byte INTEGER NOT NULL,
    last_byte INTEGER NOT NULL,
    lines INTEGER NOT NULL,
    events INTEGER NOT NULL,
    PRIMARY KEY (start, path, identity)
) STRICT, WITHOUT ROWID;

CREATE TABLE window_statuses (
    start INTEGER NOT NULL,
    status TEXT NOT NULL,
    events INTEGER NOT NULL,
    PRIMARY KEY (start, status)
) STRICT, WITHOUT ROWID;

CREATE TABLE window_dead (
    start INTEGER NOT NULL,
    reason TEXT NOT NULL,
    lines INTEGER NOT NULL,
    events INTEGER NOT NULL,
    PRIMARY KEY (start, reason)
) STRICT, WITHOUT ROWID;

-- signatures: uint64 pairs (row id of the shape that events were signed with, events), of panes that are done.
CREATE TABLE window_signatures (
    start INTEGER PRIMARY KEY,
    signatures BLOB NOT NULL
) STRICT;

CREATE TABLE dead_letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    reason TEXT NOT NULL,
    buried_at INTEGER NOT NULL DEFAULT (unixepoch()),
    source TEXT NOT NULL,
    path BLOB NOT NULL,
    generation INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    events INTEGER NOT NULL,
    lines INTEGER NOT NULL,
    data BLOB NOT NULL,
    shapes BLOB NOT NULL,
    window_index BLOB
) STRICT;
