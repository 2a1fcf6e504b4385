"""What is said of an input that cannot be read, and what to do about it.

Never here: whether it can.
"""

from __future__ import annotations

from enricher.errors import InputError


def cannot_read(name: str, error: OSError) -> InputError:
    """What to say of a file that cannot be read."""
    match error:
        case FileNotFoundError():
            return InputError(f"{name} does not exist", hint="check the path; a pattern goes in quotes: 'docs/**/*.md'")
        case PermissionError():
            return InputError(f"{name} may not be read: {error.strerror}", hint="let the user that runs this read it")
        case _:
            return InputError(f"{name} cannot be read: {error.strerror or error}", hint="see that it can be read")


def needs_extra(what: str, extra: str) -> InputError:
    """What to say where a library is missing."""
    return InputError(f"{what} cannot be read: its library is not installed", hint=f"pip install 'enricher[{extra}]'")
