"""Log files as a source: found by patterns, followed by identity through rotation, truncation and compression."""

from enricher.edges.source_files.source import MAX_DESCRIPTORS, FilesSource

__all__ = ["MAX_DESCRIPTORS", "FilesSource"]
