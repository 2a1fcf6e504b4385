"""Documents as records: a row for each file of a directory, of a pattern, or for a single one."""

from enricher.edges.record_inputs.documents.input import DocumentsInput

__all__ = ["DocumentsInput"]
