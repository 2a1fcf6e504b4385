"""Check lines of JSON against a schema of an API's description: `check_lines.py DESCRIPTION SCHEMA < LINES`.

Runs in the environment of the peers, which has a validator; nothing of ours is imported here.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jsonschema_rs

description, name = sys.argv[1:]
components = json.loads(Path(description).read_text())["components"]
validator = jsonschema_rs.Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": components})
count = 0
for count, line in enumerate(sys.stdin.buffer.read().split(b"\n"), 1):
    for error in validator.iter_errors(json.loads(line)):
        print(f"line {count}: {error.message}", file=sys.stderr)
print(f"{count} lines conform")
