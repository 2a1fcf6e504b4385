"""Verbs: the steps of the path, in alphabetical order. Each finds work in the store, does it, commits it."""
