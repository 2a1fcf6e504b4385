"""`python -m tests.benchmarks.cost`: what it costs to ask about real and generated lines, as Markdown tables.

Every figure is one of `enricher plan`, with the shipped task, model, prices and privacy: lines as they are, kinds of
event found in them, the tokens of the requests that would be uploaded (an upper estimate), and their price. The first
table is priced and written by what prices and writes the rows of `enricher cost`, before anything was paid. The second
makes the same plan with one kind in each request. Digests of windows are not in it. The six systems are those of Loghub
(ENRICHER_LOGHUB or ../shared/loghub), left out where they are not here.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import structlog

from enricher import dryrun, show
from enricher import provider as providers
from enricher.compose import source_of
from enricher.config import BatchSettings, Config
from enricher.core import pricing, spending
from enricher.core.batch import static_tokens
from tests.benchmarks import workload

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from enricher.core.answer import Usage
    from enricher.dryrun import Report
    from enricher.provider import Provider

_GENERATED_LINES: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a plan says of some lines, with several kinds in a request and with one."""

    what: str
    packed: Report
    single: Report


def main() -> None:
    """Plan and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.cost", description=__doc__.splitlines()[0])
    parser.add_argument("--lines", type=int, default=_GENERATED_LINES, help="how many lines are generated")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with TemporaryDirectory(prefix="enricher-cost-") as name:
        found = [_cost(what, path, Path(name)) for what, path in _workloads(Path(name), given.lines)]
        provider = _provider(_config(Path(name), Path(name), 1))
    for text in (*_table(found, provider), "", *_packing(found, provider)):
        print(text)


def _workloads(scratch: Path, lines: int) -> Iterator[tuple[str, Path]]:
    samples = workload.loghub()
    for sample in sorted(samples.glob("*/*_2k.log")) if samples else ():
        yield sample.parent.name, sample
    yield f"{lines:,} generated", workload.write_generated(scratch / "generated.log", lines)


def _config(path: Path, scratch: Path, each: int) -> Config:
    return Config(
        state_dir=scratch / "state",
        sources=(source_of([path], "logs"),),
        batch=BatchSettings(signatures_per_request=each),
    )


def _cost(what: str, path: Path, scratch: Path) -> Cost:
    most = BatchSettings().signatures_per_request
    packed, single = (
        asyncio.run(dryrun.plan(_config(path, scratch, each), config_path=None, environment={}, out=None))
        for each in (most, 1)
    )
    return Cost(what=what, packed=packed, single=single)


def _provider(config: Config) -> Provider:
    return providers.describe(config, environment={}, config_path=None, now=time.time())


def _table(found: Sequence[Cost], provider: Provider) -> Iterator[str]:
    rows = [
        spending.price(
            f"{one.what} ({one.packed.signatures:,} kinds)",
            one.packed.estimate.deduplicated,
            provider.prices,
            events=one.packed.events,
            every_event_usd=one.packed.estimate.per_event_usd,
        )
        for one in found
    ]
    columns, cells = spending.to_table("lines of", rows, usd=show.usd)
    yield f"Asked of {provider.model}, prices of {found[0].packed.as_of}:"
    yield ""
    yield f"| {' | '.join(columns)} |"
    yield "|---|" + "---:|" * (len(columns) - 1)
    for row in cells:
        yield f"| {' | '.join(row)} |"


def _packing(found: Sequence[Cost], provider: Provider) -> Iterator[str]:
    most = BatchSettings().signatures_per_request
    yield f"One kind in a request, and up to {most}:"
    yield ""
    yield "| lines of | requests | tokens in | in batch | saved |"
    yield "|---|---:|---:|---:|---:|"
    for one in found:
        yield _saving(one.what, one.single, one.packed, (_usd(one.single), _usd(one.packed)))
    # The part that all requests share costs less where the provider has it in its cache, which no batch can count on.
    cached = tuple(_usd_cached(found, provider, is_packed=is_packed) for is_packed in (False, True))
    usd = tuple(sum(_usd(getattr(one, name)) for one in found) for name in ("single", "packed"))
    yield f"| all of them | | | {_pair(usd)} | {_share(usd)} |"
    yield f"| all, if the shared part is always cached | | | {_pair(cached)} | {_share(cached)} |"


def _saving(what: str, single: Report, packed: Report, usd: tuple[float, float]) -> str:
    tokens = tuple(one.estimate.deduplicated.input_tokens for one in (single, packed))
    return (
        f"| {what} | {single.requests:,} → {packed.requests:,} | {tokens[0]:,} → {tokens[1]:,} | {_pair(usd)} "
        f"| {_share(usd)} |"
    )


def _pair(usd: Sequence[float]) -> str:
    return f"${usd[0]:.4f} → ${usd[1]:.4f}"


def _share(usd: Sequence[float]) -> str:
    return f"{1 - usd[1] / usd[0]:.0%}"


def _usd(report: Report) -> float:
    assert report.estimate.deduplicated_usd is not None
    return report.estimate.deduplicated_usd


def _usd_cached(found: Sequence[Cost], provider: Provider, *, is_packed: bool) -> float:
    """The price of all of them with the static part of every request but the first of each read from a cache."""
    assert provider.prices is not None
    total = 0.0
    for one in found:
        report = one.packed if is_packed else one.single
        used: Usage = report.estimate.deduplicated
        cached = static_tokens(provider.task, 1) * (report.requests - 1)
        total += pricing.cost(replace(used, cached_tokens=cached), provider.prices, batch=True)
    return total


if __name__ == "__main__":
    main()
