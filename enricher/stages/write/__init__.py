"""Write: closed pane -> rounds -> parts -> sinks -> manifest -> done.

A round fixes what a set of shapes is written with; its events go out as parts, rendered anew for each sink from the
spool (`delivering`); what a sink has of a window is told in its manifest and digest (`telling`); `stage` gives each
sink its own pace. A pane is done when everything of it was decided, delivered to every sink and told in every sink's
manifest; only then is its spool freed.
"""

from enricher.stages.write.settings import EVENTS_PER_PART, WriteSettings
from enricher.stages.write.stage import RETAIN_EVERY_SECONDS, Write

__all__ = ["EVENTS_PER_PART", "RETAIN_EVERY_SECONDS", "Write", "WriteSettings"]
