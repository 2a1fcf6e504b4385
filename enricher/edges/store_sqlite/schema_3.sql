-- Version 3: when money counts, and manifests that lack what an answer cost that came late.

-- As collected_at, but for batches that were collected under a clock that was ahead: then, when that was seen.
ALTER TABLE batches ADD COLUMN booked_at REAL;
UPDATE batches SET booked_at = collected_at;
CREATE INDEX batches_by_booking ON batches (booked_at);

-- Batches that ended after a sink had taken parts of a window, until it has a manifest with what they cost.
CREATE TABLE untold_batches (
    sink TEXT NOT NULL,
    window INTEGER NOT NULL,
    batch INTEGER NOT NULL REFERENCES batches (id),
    PRIMARY KEY (sink, window, batch)
) STRICT, WITHOUT ROWID;
