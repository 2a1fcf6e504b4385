"""Records as an output: a file or a table that appears whole or not at all. One module per vendor."""

from enricher.edges.record_outputs.opening import Found, look, open_output

__all__ = ["Found", "look", "open_output"]
