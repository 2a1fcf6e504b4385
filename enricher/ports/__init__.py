"""The ports: what the stages need of the outside, one Protocol each, with the contract of every method in prose.

An edge implements a port, and one contract suite per port runs on every implementation. A method that can fail says
how; everything else may not raise. Values come from `core`.

Never here: an implementation, a default that hides a decision.
"""

from __future__ import annotations

from enricher.ports.batches import BatchClient, BatchFiles, ProviderBatch, Workload
from enricher.ports.catalogue import Catalogue
from enricher.ports.clock import CLOCK_STEP_SECONDS, Clock
from enricher.ports.records import MAX_BATCH_BYTES, MAX_BATCH_ROWS, RecordInput, RecordOutput, RecordStore, Rows
from enricher.ports.sink import Sink, Taken
from enricher.ports.source import Chunk, Joined, SkippedFile, Source, SourceProgress
from enricher.ports.store import BlockReceipt, ShapeRow, Store

__all__ = [
    "CLOCK_STEP_SECONDS",
    "MAX_BATCH_BYTES",
    "MAX_BATCH_ROWS",
    "BatchClient",
    "BatchFiles",
    "BlockReceipt",
    "Catalogue",
    "Chunk",
    "Clock",
    "Joined",
    "ProviderBatch",
    "RecordInput",
    "RecordOutput",
    "RecordStore",
    "Rows",
    "ShapeRow",
    "Sink",
    "SkippedFile",
    "Source",
    "SourceProgress",
    "Store",
    "Taken",
    "Workload",
]
