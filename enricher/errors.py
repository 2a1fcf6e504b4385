"""The exceptions of enricher: one small tree, so that a caller decides by kind and never by message.

EnricherError                  base; `hint` says what the reader can do about it
├── ConfigError                the configuration is wrong: exit 78, every fault reported at once
│   ├── BudgetError            the money that is allowed is not enough: nothing was sent
│   └── CredentialError        a systemd credential is there and cannot be read
├── UsageError                 the command line is wrong: exit 64
├── TryAgainError              work is under way or was interrupted: exit 75, the same command goes on
├── LockedError                another process holds the state directory: exit 73
├── StoreError                 the store cannot be read or written
│   ├── StoreFullError         the disk of the store has no room
│   └── StoreVersionError      the store was written by a newer version
├── BatchFileError             a file of a batch cannot be written or read for now: it is made, or fetched, again
├── ProviderError              what the batch provider answered, mapped at the edge
│   ├── TransientProviderError try again later (timeouts, 408, 409, 429, 5xx, connection)
│   ├── UnclearProviderError   the request may have been carried out: look before trying again
│   ├── PermanentProviderError the same request will fail again (4xx)
│   ├── NotFoundProviderError  the thing asked for is not there (404)
│   └── AuthProviderError      the key is refused (401, 403), or no money is left: wait for the operator, lose nothing
├── SinkError                  a sink did not take a part; try again
├── InputError                 records cannot be read
├── OutputError                records cannot be written where they are to go
└── ModelError                 the embedded model cannot be fetched or started
"""

from __future__ import annotations

from typing import ClassVar, Final


class EnricherError(Exception):
    """Base of every error that enricher raises on purpose."""

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())
        self.hint = hint


class ConfigError(EnricherError):
    """The configuration is wrong."""

    def __init__(self, faults: list[str], *, hint: str = "") -> None:
        super().__init__("\n".join(faults), hint=hint)
        self.faults = faults


class BudgetError(ConfigError):
    """The money that is allowed is not enough."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__([message], hint=hint)


class CredentialError(ConfigError):
    """A systemd credential cannot be read."""


class UsageError(EnricherError):
    """The command line is wrong."""


class TryAgainError(EnricherError):
    """Work is under way; run the same command again."""


class LockedError(EnricherError):
    """Another process holds the state directory."""


class StoreError(EnricherError):
    """The store cannot be read or written."""


class StoreFullError(StoreError):
    """The disk of the store has no room left."""


class StoreVersionError(StoreError):
    """The store was written by a newer version of enricher."""


class BatchFileError(EnricherError):
    """A file of a batch cannot be written or read for now. It is a copy, and what it holds is not lost."""

    about: ClassVar = "batches"
    reason: ClassVar = "disk"
    """In a word, for the log."""


NOT_THE_API: Final = "not_the_api"
"""Code of a PermanentProviderError where something else than the Batch API answered: a page, a proxy."""


class ProviderError(EnricherError):
    """The batch provider answered with an error."""

    about: ClassVar = "provider"
    reason: ClassVar = "permanent"
    """In a word, for the log."""

    def __init__(
        self, message: str = "", *, hint: str = "", code: str = "", retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.retry_after_seconds = retry_after_seconds


class TransientProviderError(ProviderError):
    """The batch provider could not answer now; the same request may succeed later."""

    reason: ClassVar = "transient"


class UnclearProviderError(ProviderError):
    """The batch provider gave no clear answer: the request may have been carried out."""

    reason: ClassVar = "unclear"


class PermanentProviderError(ProviderError):
    """The batch provider refused the request and will refuse it again."""


class NotFoundProviderError(ProviderError):
    """The batch provider does not know the thing asked for."""

    reason: ClassVar = "transient"


class AuthProviderError(ProviderError):
    """The batch provider refused the key, or has no money left for it."""

    reason: ClassVar = "auth"


class SinkError(EnricherError):
    """A sink did not take a part."""


class InputError(EnricherError):
    """Records cannot be read."""


class OutputError(EnricherError):
    """Records cannot be written where they are to go."""


class ModelError(EnricherError):
    """The embedded model cannot be fetched or started."""
