"""The provider's key: from a systemd credential, else from the environment; never from a file of ours.

The key is handed to the client and to nothing else: no repr, log or metric shows it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from enricher.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

CREDENTIAL: Final = "openai-api-key"
VARIABLE: Final = "OPENAI_API_KEY"


def read_key(environment: Mapping[str, str]) -> str | None:
    """Return the key, None where there is none; an empty credential counts as none. Raises ConfigError."""
    directory = environment.get("CREDENTIALS_DIRECTORY")
    if directory:
        path = Path(directory) / CREDENTIAL
        try:
            key = path.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            key = ""
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError([f"credential {CREDENTIAL}: cannot be read: {error}"]) from None
        if key:
            return _checked(key, f"credential {CREDENTIAL}")
    key = environment.get(VARIABLE, "").strip()
    return _checked(key, VARIABLE) if key else None


def _checked(key: str, origin: str) -> str:
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError([f"{origin}: holds characters that no key has"], hint="is it one line of plain text?")
    return key
