"""enricher: every log event, enriched, at the cost of one model request per kind of event.

The path of an event. Stages never call each other; they meet in the store, so that a crash between two of them is the
same case as a restart. The alphabetical order of the stages is the order of the data.

    log files -> stages/ingest -> stages/plan -> stages/submit -> stages/track -> stages/write -> sinks
                      |                |               |               |               |
                      +----------------+----- the store (SQLite) ------+---------------+

`core/` decides and never does I/O, `edges/` does I/O and never decides, `ports.py` stands between them, `app.py` ties
the knot, `daemon.py` and `once.py` run what it tied, `batchserver/` is an OpenAI-compatible batch server of our own:
the default without a key, and the test bench.
"""

__version__ = "0.1.0"
