"""What a host name or address says by itself: whether it can be one, and whether it means this very host.

The one rule for privacy, price, proxies and open ports. Must never: look a name up.
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Say whether a host name or address means this host; no name is looked up."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_host(text: str) -> bool:
    """Say whether a text can be looked up or listened on at all; else the libraries below raise what nobody expects."""
    if not text.isprintable():
        return False
    try:
        text.encode("idna")
    except UnicodeError:
        return False
    return bool(text)


def is_our_host(header: str) -> bool:
    """Whether a Host header is an address or localhost; without one (HTTP/1.0) no browser is asking."""
    if not header:
        return True
    try:
        name = urlsplit(f"//{header}").hostname or ""
        if name == "localhost":
            return True
        ip_address(name)
    except ValueError:
        return False
    return True
