"""Secrets: from a systemd credential, else from the environment; never from a file of ours.

A secret is handed to whom it is for and to nobody else: no repr, log, metric or error shows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from enricher.errors import ConfigError, CredentialError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """Where a secret is found: the name of its credential, and that of its variable."""

    credential: str
    variable: str


PROVIDER_KEY: Final = Secret(credential="openai-api-key", variable="OPENAI_API_KEY")
ADMIN_TOKEN: Final = Secret(credential="admin-token", variable="ENRICHER_ADMIN_TOKEN")
WEBHOOK_SECRET: Final = Secret(credential="openai-webhook-secret", variable="OPENAI_WEBHOOK_SECRET")


def read_secret(secret: Secret, environment: Mapping[str, str]) -> str | None:
    """Return a secret, None where there is none; an empty credential counts as none. Raises ConfigError."""
    directory = environment.get("CREDENTIALS_DIRECTORY")
    if directory:
        path = Path(directory) / secret.credential
        try:
            text = path.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            text = ""
        except UnicodeDecodeError:
            raise ConfigError([f"credential {secret.credential}: is not text"]) from None
        except OSError as error:
            raise CredentialError([f"credential {secret.credential}: cannot be read: {error.strerror}"]) from None
        if text:
            return _checked(text, f"credential {secret.credential}")
    text = environment.get(secret.variable, "").strip()
    return _checked(text, secret.variable) if text else None


def _checked(text: str, origin: str) -> str:
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ConfigError([f"{origin}: holds characters that no key has"], hint="is it one line of plain text?")
    return text
