-- Version 7: since when a batch does not come any further, and what can be done about it.

ALTER TABLE batches ADD COLUMN failing_since REAL;
ALTER TABLE batches ADD COLUMN hint TEXT NOT NULL DEFAULT '';
