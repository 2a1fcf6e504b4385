"""Where the events go, and what the daemon keeps and shows beside them: `[[sinks]]`, `[store]`, `[admin]`."""

from __future__ import annotations

import re
from typing import Final, Literal, Self

from pydantic import field_validator, model_validator

from enricher.config.values import Count, Identifier, NoneOrPath, PathText, Table
from enricher.core.loopback import is_host
from enricher.core.verdict import Severity

_HIGHEST_PORT: Final = 65535


class SinkSettings(Table):
    """One `[[sinks]]` table."""

    id: Identifier
    type: Literal["file"] = "file"
    directory: PathText
    compress: Literal["none", "zstd", "gzip"] = "none"
    retention_days: Count = 0
    max_backlog_events: Count = 0
    group_readable: bool = False
    min_severity: Severity = "trace"


class StoreSettings(Table):
    """`[store]`."""

    max_spool_bytes: Count = 0
    reserve_bytes: Count = 67_108_864


class AdminSettings(Table):
    """`[admin]`."""

    listen: str = "127.0.0.1:9464"
    tls_certificate: NoneOrPath = None
    tls_key: NoneOrPath = None

    @field_validator("listen")
    @classmethod
    def _is_host_and_port(cls, listen: str) -> str:
        host, colon, port = listen.rpartition(":")
        if not colon or not is_host(host) or not re.fullmatch("[0-9]{1,5}", port) or int(port) > _HIGHEST_PORT:
            raise ValueError('is "HOST:PORT", such as "127.0.0.1:9464"; port 0 takes a free one')
        return listen

    @model_validator(mode="after")
    def _has_both_or_neither(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key are set together or not at all")
        return self

    @property
    def host(self) -> str:
        """Address to listen on."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """Port to listen on; 0 for a free one."""
        return int(self.listen.rpartition(":")[2])
