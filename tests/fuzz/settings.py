"""Any bytes as the configuration file: it loads, or every fault of it is told with the key that it is in."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec

from enricher.config import Config, load
from enricher.core.keying import Keying, KeyingRule
from enricher.errors import ConfigError

MOST_FAULT_CHARACTERS = 2000


def check(data: bytes) -> None:
    """A file loads whole, or a ConfigError says where what is wrong; nothing else is ever raised."""
    # A file of memory alone, so that this is as fast as a function.
    file = os.memfd_create("enricher.toml")
    try:
        os.write(file, data)
        path = Path(f"/proc/self/fd/{file}")
        try:
            config = load(path)
        except ConfigError as error:
            _told(error, str(path))
        else:
            _usable(config)
    finally:
        os.close(file)


def _told(error: ConfigError, origin: str) -> None:
    assert error.faults
    assert len(set(error.faults)) == len(error.faults)
    for fault in error.faults:
        assert fault.startswith(f"{origin}: ")
        told = fault.removeprefix(f"{origin}: ")
        assert told.isprintable(), told
        assert len(told) <= MOST_FAULT_CHARACTERS
        if told.startswith(("not TOML", "not UTF-8")):
            continue
        # The key is one of ours, or was written in the file.
        name = told.split(":")[0].split(".")[0].split("[")[0]
        assert name in Config.model_fields or "there is no such option" in told, told


def _usable(config: Config) -> None:
    """What was accepted works: nothing of it is found to be wrong later."""
    numbers = [one.retention_days for one in config.sinks] + [one.max_backlog_events for one in config.sinks]
    numbers += [config.store.max_spool_bytes, config.store.reserve_bytes, config.batch.max_tokens]
    assert all(number < 2**63 for number in numbers)
    for source in config.sources:
        json.loads(msgspec.json.encode(dict(source.fields)))
        pattern = source.time_pattern
        Keying(
            KeyingRule(
                length_seconds=config.window.length_seconds,
                zone=source.timezone,
                time_pattern=(pattern.regex, pattern.format) if pattern else None,
                drop=source.drop,
                ask_events=source.ask == "event",
                multiline=source.multiline.rule,
            )
        )
