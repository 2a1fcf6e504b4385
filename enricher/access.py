"""Who may see and do what at the admin address: its token, its certificate, the secret of webhooks.

Chosen before anything listens, so that a start, a reload and `validate` refuse the same things. Nothing is shown of a
secret: not in a repr, not in a fault.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NoReturn

from enricher.core.loopback import is_loopback
from enricher.core.webhook import to_key
from enricher.edges.credential import ADMIN_TOKEN, WEBHOOK_SECRET, read_secret
from enricher.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from enricher.config import AdminSettings

_LEAST_TOKEN_CHARACTERS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What opens the admin address."""

    token: str | None = field(repr=False)
    """Of who may read; None: whoever reaches the address may read metrics, and the rest on loopback."""
    webhook_key: bytes | None = field(repr=False)
    """What webhooks are signed with; None: there are none."""
    tls: ssl.SSLContext | None
    """None: no TLS."""


def read_access(settings: AdminSettings, environment: Mapping[str, str]) -> Access:
    """Read token, secret and certificate. Raises ConfigError."""
    return Access(token=_token(environment), webhook_key=_webhook_key(environment), tls=_tls(settings))


def exposures(settings: AdminSettings, access: Access) -> list[tuple[str, str]]:
    """What others could read who are not meant to, and how to mend that.

    These are no faults: a network may be closed to others, and an exporter that answers whoever reaches it is the rule
    there. What is more than counts is withheld in any case.
    """
    if is_loopback(settings.host):
        return []
    if access.token is None:
        text = f"admin.listen: whoever reaches {settings.listen} may read /metrics; /status is shown to nobody"
        return [(text, "set the credential admin-token or ENRICHER_ADMIN_TOKEN, or listen on 127.0.0.1")]
    if access.tls is None:
        text = f"admin.listen: the token goes to {settings.listen} in the clear"
        return [(text, "set tls_certificate and tls_key, or listen on 127.0.0.1 behind a proxy")]
    return []


def _token(environment: Mapping[str, str]) -> str | None:
    token = read_secret(ADMIN_TOKEN, environment)
    if token is not None and len(token) < _LEAST_TOKEN_CHARACTERS:
        raise ConfigError(
            [f"{ADMIN_TOKEN.variable}: a token of fewer than {_LEAST_TOKEN_CHARACTERS} characters can be found out"],
            hint="make one:  openssl rand -hex 32",
        )
    return token


def _webhook_key(environment: Mapping[str, str]) -> bytes | None:
    secret = read_secret(WEBHOOK_SECRET, environment)
    try:
        return None if secret is None else to_key(secret)
    except ValueError as error:
        raise ConfigError(
            [f"{WEBHOOK_SECRET.variable}: {error}"], hint="take the secret, whsec_..., that the endpoint was made with"
        ) from None


def _tls(settings: AdminSettings) -> ssl.SSLContext | None:
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate is None or key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for name, path in (("tls_certificate", certificate), ("tls_key", key)):
        _check_readable(name, path)
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        raise ConfigError(
            [f"admin.tls_certificate, admin.tls_key: {certificate} and {key} cannot be used: {_told(error)}"],
            hint="both are PEM, the key belongs to the first certificate in the file",
        ) from None
    return context


def _check_readable(name: str, path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise ConfigError(
            [f"admin.{name}: {path}: cannot be read: {error.strerror}"],
            hint="the daemon's user must be able to read it, or hand it over as a credential",
        ) from None


def _told(error: ssl.SSLError) -> str:
    return (error.reason or "no PEM").replace("_", " ").lower()


def _no_password() -> NoReturn:
    # OpenSSL would ask for one on the terminal, and wait.
    raise ConfigError(
        ["admin.tls_key: is encrypted"], hint="give a key without a password, readable by the daemon only"
    )
