"""The configuration: one frozen object out of one TOML file, every fault of it reported at once.

Its tables lie in the order of the data: `sources` (what is read), `asking` (when, what and at what price), `delivery`
(where it goes and what the daemon keeps and shows); `values` says what may stand in them, `loading` makes one object
of them.

`config/enricher.toml` shows every option at its default; a test compares the two. Secrets are never here: the key comes
from the environment or a systemd credential (`edges.credential`). Nothing is read lazily: what `load` returns is whole.
"""

from enricher.config.asking import (
    BatchSettings,
    BudgetSettings,
    EvaluationSettings,
    PriceSettings,
    PrivacySettings,
    ProviderSettings,
    TaskSettings,
    WindowSettings,
)
from enricher.config.carried import shipped, shipped_names, shipped_path
from enricher.config.delivery import AdminSettings, SinkSettings, StoreSettings
from enricher.config.loading import Config, load, load_or_here, parse
from enricher.config.sources import MultilineSettings, SourceSettings, TimePattern

__all__ = [
    "AdminSettings",
    "BatchSettings",
    "BudgetSettings",
    "Config",
    "EvaluationSettings",
    "MultilineSettings",
    "PriceSettings",
    "PrivacySettings",
    "ProviderSettings",
    "SinkSettings",
    "SourceSettings",
    "StoreSettings",
    "TaskSettings",
    "TimePattern",
    "WindowSettings",
    "load",
    "load_or_here",
    "parse",
    "shipped",
    "shipped_names",
    "shipped_path",
]
