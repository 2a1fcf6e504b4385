"""Nouns: pure values and decisions. Nothing here does I/O, waits, logs, or asks for time or randomness."""
