-- Version 5: how old the word of a provider is, and what was created in vain.

-- A limit of the token queue is believed less the older it is; one from before is as old as can be.
ALTER TABLE token_limits ADD COLUMN learned_at REAL NOT NULL DEFAULT 0;

-- A batch that was found beside the one of the same file: it is cancelled, and costs what it had answered by then.
ALTER TABLE batches ADD COLUMN is_surplus INTEGER NOT NULL DEFAULT 0;
