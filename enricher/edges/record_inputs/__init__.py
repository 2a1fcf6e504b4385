"""Records as an input: documents of a directory, the rows of a table or of a query. One module per vendor."""

from enricher.edges.record_inputs.opening import open_input

__all__ = ["open_input"]
