"""How well signatures agree with the templates of products that no rule was written for."""

from __future__ import annotations

from statistics import mean

import pytest

from enricher.core.header import split_header
from enricher.core.skeleton import shape_of
from tests.core import unseen_systems
from tests.core.test_loghub_signatures import named, scores


def test_signatures_agree_with_the_templates_of_products_that_no_rule_was_written_for():
    made = [unseen_systems.generate(system, lines=500) for system in unseen_systems.SYSTEMS]
    found = [scores(list(one.templates), named(list(one.lines)).signatures) for one in made]

    assert mean(one["GA"] for one in found) >= 0.90
    assert mean(one["purity"] for one in found) >= 0.995
    assert mean(one["requests"] for one in found) <= 32


@pytest.mark.parametrize(
    ("line", "level", "program", "message"),
    [
        (b"2026-03-04 10:00:01  CTRL-A  I  8C6A  fc_port     Port 6 is up", "I", "fc_port", b"Port"),
        (b"2026-03-04 10:00:01  CTRL-A  I  FFAF  fc_port     Port 6 is up", "I", "fc_port", b"Port"),
        (b"[Mar  4 10:00:00] NOTICE[2441][C-77d8] call.c: Call from 7", "NOTICE", "call.c", b"Call"),
        (
            b"Information\t3/4/2026 10:00:04 AM\tTime Service\t36\tNone\tThe clock",
            "Information",
            "Time Service",
            b"\x01 None The",
        ),
        (b"2026-03-04 10:00:00.162 UTC [29] root@dwh LOG:  checkpoint done", "LOG", "", b"checkpoint"),
        (b"2026-03-04T10:00:00Z\tinfo\tlogin\tof a user", "info", "", b"login of a user"),
        (b"2026-03-04 10:00:00  login  of a user", "", "", b"login of a user"),
        (b'2026-03-04T10:00:00Z\tinfo\tstarted\t{"port": 1}', "info", "", b"started"),
    ],
)
def test_columns_of_a_header_are_found_by_how_they_are_set_apart(line, level, program, message):
    shape = shape_of(line)

    assert (level, program) == (shape.level, shape.program)
    assert shape.skeleton.startswith(message.decode())


def test_a_message_with_wide_blanks_is_no_header():
    assert 0 == split_header(b"Finished.  Wrote  many  entries").end


@pytest.mark.parametrize("word", ["HRXKVpGmRvv", "tPYYWcPSVuk", "qqKZLTrPvWm"])
def test_an_identifier_of_letters_alone_is_a_value(word):
    assert "mail \x01 removed" == shape_of(f"mail {word} removed".encode()).skeleton


@pytest.mark.parametrize("word", ["OrderService", "getCtxMgr", "SslCtxMgr", "McXyStream", "getADForUser", "NfsDbMgr"])
def test_a_name_in_camel_case_is_none(word):
    assert f"mail {word} removed" == shape_of(f"mail {word} removed".encode()).skeleton


@pytest.mark.parametrize(
    ("message", "skeleton"),
    [
        ("nodes node[3-28] are busy", "nodes \x01 are busy"),
        ("nodes node[4,55,60-70] are busy", "nodes \x01 are busy"),
        ("query 'fig.example.org/A/IN' denied", "query '\x01' denied"),
        ('upstream: "http://10.0.0.1:80/fig", host: "fig.example.org"', 'upstream: "\x01", host: "\x01"'),
        ("logon of WKS7\\Admin.", "logon of \x01."),
    ],
)
def test_values_of_two_parts_are_one_hole(message, skeleton):
    assert skeleton == shape_of(message.encode()).skeleton
