"""Telling: the manifest and the digest of a window, as each sink has it.

They are written anew whenever there is more to say, and final where a sink has all of the window. Must never: deliver.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from enricher.core import digest
from enricher.core.manifest import build_manifest, imbalance
from enricher.core.window import window_id
from enricher.stages.write.panes import key_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from enricher.ports import Sink, Store
    from enricher.stages.write.panes import Key, PaneState
    from enricher.stages.write.settings import WriteSettings
    from enricher.telemetry import Telemetry


class Telling:
    """Writes manifests and digests."""

    def __init__(self, *, store: Store, telemetry: Telemetry, settings: WriteSettings) -> None:
        self._store = store
        self._telemetry = telemetry
        self._settings = settings

    async def tell(self, sink: Sink, start: int, panes: Mapping[Key, PaneState]) -> None:
        """Write the window's manifest as the sink sees it now."""
        ended = (await self._store.untold_batches(sink.id)).get(start, [])
        report = await self._store.window_report(start)
        deliveries = await self._store.deliveries(sink.id, start)
        final = all(pane.state == "done" or _is_settled(panes, sink, key_of(pane)) for pane in report.panes)
        window = window_id(start, self._settings.length_seconds)
        if final and (difference := imbalance(report, deliveries)):
            self._telemetry.accounting_imbalanced(window=window, difference=difference)
        compress = self._settings.compress.get(sink.id, "none")
        await sink.manifest(window, build_manifest(report, deliveries, window=window, final=final, compress=compress))
        if ended:
            await self._store.batches_told(sink.id, start, ended)
        self._telemetry.manifest_written(window=window, final=final)
        if final and self._settings.digest:
            await self._sum_up(sink, start, window)

    async def _sum_up(self, sink: Sink, start: int, window: str) -> None:
        """Write the window's digest."""
        task, model = self._settings.task, self._settings.model
        kinds = await self._store.window_kinds(start, windows=digest.HISTORY_WINDOWS, task=task, model=model)
        found = digest.compare(window, kinds)
        account = await self._store.account(start)
        await sink.digest(window, digest.to_json(found, account), digest.to_markdown(found, account))
        if account is not None:
            await self._store.account_told(sink.id, start)

    async def retell(self, sink: Sink, panes: Mapping[Key, PaneState]) -> bool:
        """Tell again of windows that are over: where a batch of theirs has ended since, or a model spoken of them."""
        under_way = {start for start, _ in panes}
        ended = [start for start in await self._store.untold_batches(sink.id) if start not in under_way]
        for start in ended:
            await self.tell(sink, start, panes)
        starts = await self._store.untold_accounts(sink.id) if self._settings.digest else []
        settled = [start for start in starts if all(_is_settled(panes, sink, key) for key in panes if key[0] == start)]
        for start in settled:
            await self._sum_up(sink, start, window_id(start, self._settings.length_seconds))
        return bool(settled or ended)


def _is_settled(panes: Mapping[Key, PaneState], sink: Sink, key: Key) -> bool:
    return key in panes and panes[key].is_settled(sink.id)
