"""Generated structured lines: few kinds, and in every line new users, ids, addresses, paths and numbers."""

from __future__ import annotations

import json
import random

WORDS = (
    "amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "inlet", "jetty", "knoll", "larch", "maple",
    "north", "ocean", "prairie",
)  # fmt: skip
_KINDS = [
    (f"{thing}.{verb}", category)
    for thing, category in (
        ("user", "iam"),
        ("order", "shop"),
        ("file", "storage"),
        ("key", "kms"),
        ("host", "compute"),
    )
    for verb in ("created", "updated", "deleted", "viewed", "shared", "denied")
]


def a_user(rng: random.Random) -> str:
    return f"{rng.choice(WORDS)}.{rng.choice(WORDS)}{rng.choice(['', str(rng.randrange(99))])}"


def an_address(rng: random.Random) -> str:
    return ".".join(str(rng.randrange(256)) for _ in range(4))


def a_path(rng: random.Random) -> str:
    return "/" + "/".join(rng.choice(WORDS) for _ in range(rng.randrange(1, 6))) + f"/{rng.randrange(10**6)}.txt"


def audit_events(count: int, *, seed: int = 1, plain: bool = False) -> list[bytes]:
    """JSON audit events of 30 kinds without a message; `plain` ones have no lists and one order of their fields."""
    rng = random.Random(seed)
    lines = []
    for at in range(count):
        action, category = _KINDS[at % len(_KINDS)]
        event = {
            "timestamp": f"2026-11-22T10:{at // 60 % 60:02}:{at % 60:02}.{rng.randrange(1000):03}Z",
            "action": action,
            "category": category,
            "actor": {"name": a_user(rng), "id": rng.randrange(10**9), "ip": an_address(rng)},
            "target": {
                "path": a_path(rng),
                "owner": a_user(rng),
                "meta": {"etag": f"{rng.getrandbits(64):x}", "tags": list(WORDS[: at % 3])},
            },
            "request_id": f"{rng.getrandbits(128):032x}",
            "size": rng.choice([rng.randrange(10**6), round(rng.random() * 100, 3)]),
        }  # fmt: skip
        if rng.random() < 0.5:
            event["trace_id"] = f"{rng.getrandbits(64):016x}"
        items = list(event.items())
        if plain:
            del event["target"]["meta"]
        elif at % 7 == 0:
            rng.shuffle(items)
        lines.append(json.dumps(dict(items)).encode())
    return lines


def logfmt_lines(count: int) -> list[bytes]:
    """Ten kinds of a service's lines."""
    rng = random.Random(2)
    kinds = [("info", "request done"), ("info", "job started"), ("warn", "slow query"), ("error", "cannot connect"),
             ("info", "cache filled"), ("debug", "token checked"), ("info", "mail sent"), ("error", "disk full"),
             ("info", "user logged in"), ("warn", "retry later")]  # fmt: skip
    return [
        (
            f'time=2026-11-22T10:00:00Z level={level} msg="{text}" user={a_user(rng)} path={a_path(rng)}'
            f" ip={an_address(rng)} took={rng.random():.3f}ms id={rng.getrandbits(64):x}"
        ).encode()
        for level, text in (kinds[at % len(kinds)] for at in range(count))
    ]


def access_lines(count: int) -> list[bytes]:
    """Five routes with ids and titles in them."""
    rng = random.Random(3)
    lines = []
    for at in range(count):
        path = (
            f"/api/v1/users/{rng.randrange(10**6)}",
            f"/api/v1/orders/{rng.getrandbits(64):x}/items",
            f"/blog/{'-'.join(rng.sample(WORDS, 5))}",
            f"/search?q={rng.choice(WORDS)}&page={rng.randrange(9)}",
            f"/static/js/{rng.choice(WORDS)}{rng.randrange(9)}.js",
        )[at % 5]
        lines.append(
            f"{an_address(rng)} - {rng.choice(['-', rng.choice(WORDS)])} [22/Nov/2026:10:00:{at % 60:02} +0000]"
            f' "GET {path} HTTP/1.1" {rng.choice([200, 404])} {rng.randrange(9999)} "-" "Agent/{at % 99}"'.encode()
        )
    return lines


def cef_lines(count: int) -> list[bytes]:
    """Six kinds of a firewall's."""
    rng = random.Random(4)
    kinds = [(name, act) for name in ("Login failed", "Port scan", "Policy match") for act in ("blocked", "allowed")]
    return [
        (
            f"<134>Nov 22 10:00:00 fw{at % 7} CEF:0|Acme|Wall|1.{at % 9}|{at % 6}|{name}|5|src={an_address(rng)}"
            f" suser={a_user(rng)} act={act}"
            f" spt={rng.randrange(65536)} msg=seen at {a_path(rng)} rt={1_795_341_600_000 + at}"
        ).encode()
        for at, (name, act) in ((at, kinds[at % len(kinds)]) for at in range(count))
    ]


def cluster_audit_lines(count: int) -> list[bytes]:
    """Kubernetes audit events: 4 verbs on 3 resources, some with the objects that they are about."""
    rng = random.Random(5)
    lines = []
    for at in range(count):
        verb, resource = ("get", "list", "create", "delete")[at % 4], ("pods", "secrets", "configmaps")[at % 3]
        event = {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": "Metadata",
            "auditID": f"{rng.getrandbits(128):x}",
            "stage": "ResponseComplete",
            "requestURI": f"/api/v1/namespaces/{rng.choice(WORDS)}/{resource}/{rng.getrandbits(20):x}",
            "verb": verb,
            "user": {"username": a_user(rng), "groups": list(WORDS[: at % 5])},
            "sourceIPs": [an_address(rng)],
            "objectRef": {"resource": resource, "namespace": rng.choice(WORDS), "name": f"{rng.choice(WORDS)}-{at}"},
            "requestObject": {
                "metadata": {
                    "labels": {rng.choice(WORDS): rng.choice(WORDS)},
                    "managedFields": [{"time": "2020-01-01T00:00:00Z"}],
                }
            },
            "responseStatus": {"metadata": {}, "code": rng.choice([200, 201, 404])},
            "requestReceivedTimestamp": "2026-11-22T10:00:00.123456Z",
            "stageTimestamp": "2026-11-22T10:00:00.234567Z",
        }  # fmt: skip
        if at % 2:
            event["responseObject"] = {"spec": {rng.choice(WORDS): {rng.choice(WORDS): at}}}
        lines.append(json.dumps(event).encode())
    return lines


def syslog_lines(count: int) -> list[bytes]:
    """Three kinds with structured data."""
    rng = random.Random(6)
    return [
        (
            f"<{rng.randrange(192)}>1 2026-11-22T10:00:00.{rng.randrange(1000):03}Z {rng.choice(WORDS)} app {at} "
            f'{("LOGIN", "LOGOUT", "SYNC")[at % 3]} [meta@32473 seq="{at}" user="{a_user(rng)}"'
            f' eventSource="{("Web", "Cli")[at % 2]}"]'
            f" {('session opened', 'session closed', 'copied files')[at % 3]} after {at} ms"
        ).encode()
        for at in range(count)
    ]
