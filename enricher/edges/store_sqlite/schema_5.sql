-- Version 5: how old the word of a provider is.

-- A limit of the token queue is believed less the older it is; one from before is as old as can be.
ALTER TABLE token_limits ADD COLUMN learned_at REAL NOT NULL DEFAULT 0;
