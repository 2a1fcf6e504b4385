-- Version 2: batch mode over records, in the same ledger.
ALTER TABLE batches ADD COLUMN purpose TEXT NOT NULL DEFAULT 'events' CHECK (purpose IN ('events', 'records'));
