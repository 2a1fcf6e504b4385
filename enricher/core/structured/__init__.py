"""Lines that are data already: JSON, key=value, CEF, LEEF, access logs, RFC 5424, CSV, and lines wrapped in another.

``detect.parse`` tells a line's format by its first bytes and takes it apart; ``key`` makes the parts of a shape from
what was found in collapsed text, ``reading`` the fields and values of a record from what was found in the raw line. A
line that looks like a format and does not parse is text.

Invariant: pure, in time proportional to the line. Must never: import ``core.skeleton`` outside ``reading`` (it imports
``key``), or let an id, a time, a user's name or a free number into a key.
"""
