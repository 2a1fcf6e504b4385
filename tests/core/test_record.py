"""Events and answers become NDJSON: the fields of an event, whatever its bytes, in order, the same each time."""

from __future__ import annotations

import json
import weakref
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core import record_kinds, record_times
from enricher.core.block import CONTINUES, SKIPPED, Segment, SpooledSegment
from enricher.core.event_id import event_id, id_ends
from enricher.core.ledger import Outcome, StoredAnswer
from enricher.core.record import Renderer
from enricher.core.record_form import OWN_KEYS
from enricher.core.record_heads import numerals
from enricher.core.record_kinds import KnownKinds
from enricher.core.record_values import MAX_VALUE_BYTES, escape
from enricher.core.skeleton import shape_of

START = 1_795_341_600  # 2026-11-22T10Z
ALWAYS = {
    "@timestamp", "event.id", "host.name", "message", "log.file.path", "log.offset", "log.record.template",
    "enrichment.signature", "enrichment.status", "enrichment.window", "enrichment.pane",
}  # fmt: skip
LOGIN = b"2026-11-22T10:00:01Z web1 sshd[42]: Failed password for user=ann from 10.0.0.7 port 22"


def an_answer(**changes) -> StoredAnswer:
    body = {"severity": "warning", "category": "auth", "summary": "A login failed."} | changes
    return StoredAnswer(
        id=1,
        signature="s" * 16,
        task="t" * 16,
        model="asked",
        served_model="served",
        status="ok",
        body=json.dumps(body),
        batch_id="batch_1",
        answered_at=0.0,
    )


def an_outcome(shape: int = 1, *, template: str = "nothing", status: str = "cached", **answer) -> Outcome:
    known = an_answer(**answer) if status in ("ok", "cached") else None
    return Outcome(shape=shape, signature=f"{shape:016x}", template=template, status=status, answer=known)


def a_segment(data: bytes, shapes, **changes) -> SpooledSegment:
    facts = {
        "source": "varlog",
        "file_id": 1,
        "path": b"/var/log/app.log",
        "identity": "0123456789abcdef",
        "generation": 0,
        "offset": 1000,
        "lost_bytes": 0,
        "windows": (START,),
        "window_index": None,
        "read_at": START + 7200.0,
        "anchor": None,
        "fallback": float(START),
        "time_rule": '{"zone": "UTC", "pattern": null}',
    }
    panes = changes.pop("panes", (0,))
    segment = Segment(data=data, shapes=np.array(shapes, dtype=np.uint32), **facts | changes)
    return SpooledSegment(id=1, segment=segment, panes=panes)


def a_renderer(*outcomes: Outcome, **changes) -> Renderer:
    facts = {
        "host": "web1",
        "window": "2026-11-22T10Z",
        "start": START,
        "pane": 0,
        "levels": {},
        "fields": {},
        "quality": {},
        "min_severity": "trace",
    }
    return Renderer(outcomes=outcomes, **facts | changes)


def no_double_keys(pairs):
    keys = [key for key, _ in pairs]
    assert sorted(keys) == sorted(set(keys))
    return dict(pairs)


def records(renderer: Renderer, spooled: SpooledSegment) -> list[dict]:
    page = renderer.open(spooled)
    data = page.render(0, page.events).data
    return [json.loads(line, object_pairs_hook=no_double_keys) for line in data.splitlines()]


def login(**answer) -> dict:
    """The record of LOGIN, whose template has three holes."""
    template = shape_of(LOGIN).template
    assert template.count("<*>") == 3
    outcome = an_outcome(template=template, **answer)
    return records(a_renderer(outcome), a_segment(LOGIN + b"\n", [1]))[0]


# ---------------------------------------------------------------- what a record says


def test_names_stay_with_their_values_when_the_template_has_grown_since_it_was_asked():
    now = "<*> password for <*> from <*> port <*>"
    answer = an_answer(summary="{user.name} failed.", slots=["user.name", "source.ip", "source.port"])
    answer = replace(answer, template="Failed password for <*> from <*> port <*>")
    outcome = Outcome(shape=1, signature="0" * 16, template=now, status="cached", answer=answer)
    line = LOGIN.replace(b"user=ann", b"ann")
    (found,) = records(a_renderer(outcome), a_segment(line + b"\n", [1]))
    assert ("ann", "10.0.0.7", 22) == (found["user.name"], found["source.ip"], found["source.port"])
    assert "ann failed." == found["enrichment.summary"]


def test_an_event_without_an_answer_has_what_the_source_says_and_nothing_else():
    outcome = an_outcome(template="it broke", status="pending")
    (found,) = records(a_renderer(outcome), a_segment(b"2026-11-22T10:00:01Z it broke\n", [1]))
    assert found == {
        "@timestamp": "2026-11-22T10:00:01Z",
        "event.id": event_id("0123456789abcdef", 1000, b"2026-11-22T10:00:01Z it broke"),
        "host.name": "web1",
        "log.file.path": "/var/log/app.log",
        "log.offset": 1000,
        "message": "2026-11-22T10:00:01Z it broke",
        "log.record.template": "it broke",
        "enrichment.signature": "0000000000000001",
        "enrichment.status": "pending",
        "enrichment.window": "2026-11-22T10Z",
        "enrichment.pane": 0,
    }
    assert set(found) == ALWAYS


def test_all_that_an_answer_says_is_written():
    found = login(
        outcome="failure",
        category="security",
        tags=["login"],
        root_cause_hint="Guessing of passwords.",
        root_cause_origin="upstream",
        action="Look at the address.",
        technique=["T1110"],
        confidence=0.5,
    )
    assert {key: value for key, value in found.items() if key not in ALWAYS} == {
        "enrichment.severity": "warning",
        "enrichment.category": "security",
        "enrichment.outcome": "failure",
        "enrichment.summary": "A login failed.",
        "enrichment.confidence": 0.5,
        "enrichment.model": "served",
        "enrichment.batch_id": "batch_1",
        "enrichment.task": "t" * 16,
        "tags": ["login"],
        "enrichment.root_cause.hint": "Guessing of passwords.",
        "enrichment.root_cause.origin": "upstream",
        "enrichment.action": "Look at the address.",
        "threat.technique.id": ["T1110"],
    }


def test_slots_become_fields_by_their_ecs_name_or_under_enrichment():
    found = login(
        slots=["user.name", "attacker", "host.name"], summary="{user.name} at {attacker}, 100% of {user.name}"
    )
    assert found["user.name"] == "ann"
    assert found["enrichment.fields.attacker"] == "10.0.0.7"
    assert found["enrichment.fields.host.name"] == "22"
    assert found["host.name"] == "web1"
    assert found["enrichment.summary"] == "ann at 10.0.0.7, 100% of ann"


def test_what_tells_events_apart_that_are_asked_one_by_one_is_no_part_of_the_template():
    outcome = an_outcome(template="started <*>\0" + "f" * 32, slots=["service.name"])
    (found,) = records(a_renderer(outcome), a_segment(b"started cron2\n", [1]))
    assert (found["log.record.template"], found["service.name"]) == ("started <*>", "cron2")


def test_a_single_value_is_written_too():
    template = "started <*>"
    outcome = an_outcome(template=template, slots=["service.name"], summary="{service.name}!")
    (found,) = records(a_renderer(outcome), a_segment(b"2026-11-22T10:00:01Z started cron2\n", [1]))
    assert (found["service.name"], found["enrichment.summary"]) == ("cron2", "cron2!")


def test_an_event_that_its_template_does_not_fit_keeps_a_readable_summary_and_has_no_fields():
    outcome = an_outcome(template="one <*> two", slots=["user.name"], summary="{user.name} did 100% of {that}")
    (found,) = records(a_renderer(outcome), a_segment(b"something else\n", [1]))
    assert found["enrichment.summary"] == "user.name did 100% of {that}"
    assert "user.name" not in found


def test_events_of_one_kind_that_fit_and_do_not_fit_stand_side_by_side():
    outcome = an_outcome(template="port <*> open", slots=["source.port"])
    data = b"port 22 open\n10:00:01 port 23 open\nport open\n2026-11-22 10:00:02 port 24 open\n"
    found = records(a_renderer(outcome), a_segment(data, [1, 1, 1, 1]))
    assert [one.get("source.port") for one in found] == [22, 23, None, 24]


def test_values_have_the_type_of_their_field_and_text_stays_text():
    found = login(slots=["user.name", "source.ip", "source.port"], summary="{source.ip}:{source.port}")
    assert (found["user.name"], found["source.ip"], found["source.port"]) == ("ann", "10.0.0.7", 22)
    assert found["enrichment.summary"] == "10.0.0.7:22"


def test_a_value_that_is_not_of_its_type_stays_text_under_enrichment_for_that_event_alone():
    outcome = an_outcome(
        template="from <*> port <*> of <*>",
        slots=["source.ip", "source.port", "source.user.name"],
        summary="{source.ip}, {source.port}",
    )
    values = [("10.0.0.7", "22"), ("web1", "-"), ("::1", "007"), ("300.1.1.1", "9"), ("10.0.0.8", "http")]
    data = "".join(f"from {ip} port {port} of me\n" for ip, port in values).encode()
    found = records(a_renderer(outcome), a_segment(data, [1] * 5))
    names = ["source.ip", "source.port"]
    assert [[one.get(name) for name in names] for one in found] == [
        ["10.0.0.7", 22],
        [None, None],
        ["::1", 7],
        [None, 9],
        ["10.0.0.8", None],
    ]
    assert [[one.get(f"enrichment.fields.{name}") for name in names] for one in found] == [
        [None, None],
        ["web1", "-"],
        [None, None],
        ["300.1.1.1", None],
        [None, "http"],
    ]
    assert [one["enrichment.summary"] for one in found] == [f"{ip}, {port}" for ip, port in values]
    assert {one["source.user.name"] for one in found} == {"me"}


def test_kinds_with_types_and_without_and_events_without_values_share_a_page():
    outcomes = [
        an_outcome(1, template="port <*> open", slots=["source.port"]),
        an_outcome(2, template="user <*>", slots=["user.name"]),
        an_outcome(3, template="nothing"),
    ]
    lines = [b"port 1 open", b"user 7", b"nothing", b"port open", b"port x open", b"user 8", b"port 2 open"]
    found = records(a_renderer(*outcomes), a_segment(b"\n".join(lines) + b"\n", [1, 2, 3, 1, 1, 2, 1]))
    assert [one.get("source.port") for one in found] == [1, None, None, None, None, None, 2]
    assert [one.get("user.name") for one in found] == [None, "7", None, None, None, "8", None]
    assert [one.get("enrichment.fields.source.port") for one in found] == [None] * 4 + ["x", None, None]


@settings(max_examples=60, derandomize=True)
@given(st.lists(st.sampled_from(["7", "43 ms", "2 GB", "007", "0x1f", "none", "-1"]), min_size=1, max_size=6))
def test_each_value_goes_where_its_type_says_whatever_the_others_of_its_kind_are(values):
    outcome = an_outcome(template="waited <*> for it", slots=["process.pid"], summary="It took {process.pid}.")
    data = "".join(f"2026-11-22T10:00:01Z waited {value} for it\n" for value in values).encode()
    number_of = {"7": 7, "007": 7, "0x1f": 31, "-1": -1}
    for value, found in zip(values, records(a_renderer(outcome), a_segment(data, [1] * len(values))), strict=True):
        spare = None if value in number_of else value
        assert (number_of.get(value), spare) == (found.get("process.pid"), found.get("enrichment.fields.process.pid"))
        assert f"It took {value}." == found["enrichment.summary"]


def test_the_name_that_a_misfit_gets_is_never_that_of_another_field():
    slots = ["source.port", "enrichment.fields.source.port", "host.name"]
    outcome = an_outcome(template="a <*> b <*> c <*>", slots=slots)
    (found,) = records(a_renderer(outcome), a_segment(b"a x b 1 c 2\n", [1]))
    assert {key: value for key, value in found.items() if value in ("x", "1", "2")} == {
        "enrichment.fields.source.port": "x",
        "enrichment.fields.enrichment.fields.source.port": "1",
        "enrichment.fields.host.name": "2",
    }


def test_a_value_that_is_no_value_of_its_type_is_escaped_and_cut_as_any_text():
    outcome = an_outcome(template="port <*> open", slots=["source.port"])
    long = b"9" * 5000
    data = b'port a"b\\c\x1b open\nport ' + long + b" open\n"
    first, second = records(a_renderer(outcome), a_segment(data, [1, 1]))
    assert first["enrichment.fields.source.port"] == 'a"b\\c\x1b'
    assert second["enrichment.fields.source.port"] == "9" * MAX_VALUE_BYTES + "…"


@given(
    values=st.lists(
        st.tuples(st.integers(1, 2), st.sampled_from(["1", "007", "x", "-1", "1.5", "99999999999999999999", "0x1F"])),
        min_size=1,
        max_size=12,
    )
)
@settings(max_examples=60, derandomize=True)
def test_types_do_not_depend_on_what_else_is_in_the_page(values):
    outcomes = [
        an_outcome(1, template="port <*> open", slots=["source.port"]),
        an_outcome(2, template="score <*> of <*>", slots=["vulnerability.score.base", "process.pid"]),
    ]
    lines = [
        b"port %b open" % text.encode() if kind == 1 else b"score %b of 7" % text.encode() for kind, text in values
    ]
    kinds = [kind for kind, _ in values]
    together = records(a_renderer(*outcomes), a_segment(b"\n".join(lines) + b"\n", kinds))
    alone = [
        records(a_renderer(*outcomes), a_segment(line + b"\n", [kind]))[0]
        for line, kind in zip(lines, kinds, strict=True)
    ]
    own = {"event.id", "log.offset"}
    assert [{k: v for k, v in one.items() if k not in own} for one in alone] == [
        {k: v for k, v in one.items() if k not in own} for one in together
    ]


def test_a_header_of_another_form_is_found_in_the_same_kind():
    lines = [b"a@web is 1", b"2026-11-22T10:00:01Z b@web is 2", b"2026-11-22T10:00:02Z c@web is 3"]
    (template,) = {shape_of(line).template for line in lines}
    assert template == "<*> is <*>"
    outcome = an_outcome(template=template, slots=["a", "b"])
    found = records(a_renderer(outcome), a_segment(b"\n".join(lines) + b"\n", [1, 1, 1]))
    assert [one["enrichment.fields.a"] for one in found] == ["a@web", "b@web", "c@web"]


def test_names_given_twice_do_not_collide():
    found = login(slots=["user.name", "user.name", "user.name"])
    assert found["user.name"] == "ann"
    assert sorted(value for key, value in found.items() if key.startswith("enrichment.fields.")) == ["10.0.0.7", "22"]


def test_static_fields_are_written_but_never_over_our_own_keys():
    fields = {"varlog": {"service.name": "shop", "message": "no", "enrichment.status": "no", "tags": "no", "n": 1}}
    outcome = an_outcome(template="started <*>", slots=["service.name"])
    (found,) = records(a_renderer(outcome, fields=fields), a_segment(b"started cron2\n", [1]))
    assert (found["service.name"], found["n"]) == ("shop", 1)
    assert found["enrichment.fields.service.name"] == "cron2"
    assert (found["message"], found["enrichment.status"]) == ("started cron2", "cached")
    assert "tags" not in found


def test_level_and_quality_are_written_when_there_are_any():
    renderer = a_renderer(an_outcome(), levels={1: ("error", 17)}, quality={"t" * 16: "demo"})
    (found,) = records(renderer, a_segment(b"ERROR nothing\n", [1]))
    assert (found["log.level"], found["severity_number"], found["enrichment.quality"]) == ("error", 17, "demo")


def test_an_answer_that_this_version_cannot_read_is_called_invalid():
    outcome = an_outcome(severity="apocalyptic")
    (found,) = records(a_renderer(outcome), a_segment(b"nothing\n", [1]))
    assert found["enrichment.status"] == "invalid"
    assert "enrichment.severity" not in found


def test_an_event_of_several_lines_is_one_message():
    data = b"Error: no\n  at a()\n  at b()\nnext\n"
    outcome = an_outcome()
    page = a_renderer(outcome).open(a_segment(data, [1, CONTINUES, CONTINUES, 1]))
    rendered = page.render(0, 2)
    first, second = map(json.loads, rendered.data.splitlines())
    assert first["message"] == "Error: no\n  at a()\n  at b()"
    assert first["event.id"] == event_id("0123456789abcdef", 1000, b"Error: no\n  at a()\n  at b()")
    assert (second["message"], second["log.offset"]) == ("next", 1000 + data.index(b"next"))
    assert (rendered.events, rendered.lines) == (2, 4)


def test_a_skipped_line_ends_an_event_and_is_not_written():
    found = records(a_renderer(an_outcome()), a_segment(b"one\n\ntwo\n", [1, SKIPPED, 1]))
    assert [one["message"] for one in found] == ["one", "two"]


def test_a_cut_line_is_marked_and_no_other():
    found = records(a_renderer(an_outcome()), a_segment(b"one\ntwo\n", [1, 1], lost_bytes=5))
    assert [one.get("log.flags") for one in found] == [None, ["truncated"]]


def test_only_events_of_the_window_the_pane_and_the_round_are_written():
    outcome = an_outcome(shape=1)
    spooled = a_segment(
        b"a\nb\nc\nd\n",
        [1, 1, 2, 1],
        windows=(START - 3600, START, START + 3600),
        window_index=np.array([0, 1, 1, 2], dtype=np.uint8),
        panes=(0, 3, 0),
    )
    assert [one["message"] for one in records(a_renderer(outcome, pane=3), spooled)] == ["b"]
    assert records(a_renderer(outcome, pane=0), spooled) == []


@pytest.mark.parametrize(("min_severity", "left"), [("info", ["a", "b", "c"]), ("error", ["b", "c"]), ("fatal", ["c"])])
def test_answers_below_the_least_severity_are_left_out_and_counted(min_severity, left):
    outcomes = (an_outcome(1, severity="warning"), an_outcome(2, severity="critical"), an_outcome(3, status="pending"))
    page = a_renderer(*outcomes, min_severity=min_severity).open(a_segment(b"a\nb\nc\n", [1, 2, 3]))
    rendered = page.render(0, 3)
    assert [json.loads(line)["message"] for line in rendered.data.splitlines()] == left
    assert (rendered.events, rendered.filtered) == (len(left), 3 - len(left))
    assert rendered.statuses == {"cached": 2, "pending": 1}


def test_a_long_value_is_cut_between_characters():
    line = b"user " + "é".encode() * MAX_VALUE_BYTES + b" left"
    outcome = an_outcome(template="user <*> left", slots=["user.name"], summary="{user.name}")
    (found,) = records(a_renderer(outcome), a_segment(line + b"\n", [1]))
    assert found["user.name"] == "é" * (MAX_VALUE_BYTES // 2) + "…"
    assert found["message"] == line.decode()


def test_times_are_read_as_they_were_when_the_lines_came_in():
    rule = json.dumps(
        {"zone": "Europe/Berlin", "pattern": {"regex": "at (?P<time>[0-9:. ]+)!", "format": "%d.%m.%Y %H:%M"}}
    )
    (found,) = records(a_renderer(an_outcome()), a_segment(b"at 22.11.2026 11:05!\n", [1], time_rule=rule))
    assert found["@timestamp"] == "2026-11-22T10:05:00Z"


# ---------------------------------------------------------------- hostile bytes


def test_bytes_that_are_no_text_and_controls_are_escaped():
    data = b'a\x00\x1b[2J\xff\\"\t\x7f\xc2\x9b\xe2\x82\xac\xe2\x82'
    (found,) = records(a_renderer(an_outcome()), a_segment(data + b"\n", [1]))
    assert found["message"] == 'a\x00\x1b[2J\\xff\\"\t\x7f\x9b€\\xe2\\x82'
    page = a_renderer(an_outcome()).open(a_segment(data + b"\n", [1]))
    assert page.render(0, 1).data.removesuffix(b"\n").decode().isprintable()


def test_a_path_that_is_no_text_and_holds_percent_signs_is_written():
    (found,) = records(a_renderer(an_outcome(), host="100%"), a_segment(b"x\n", [1], path=b'/var/%b/\xff".log'))
    assert (found["host.name"], found["log.file.path"]) == ("100%", '/var/%b/\\xff".log')


LINES = st.one_of(
    st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"")),
    st.sampled_from([LOGIN, b"port 22 open", b'say "%d" \\ now 7', b"2026-11-22T10:00:02Z web1 sshd[7]: x 1 y 2"]),
)
CASES = st.lists(st.tuples(LINES, st.sampled_from(["event", "event", "event", "continues", "skipped"])), min_size=1)
NAMES = st.lists(st.sampled_from(["user.name", "tags", "message", "p1", "p2", "x", "service.name", "enrichment.x"]))


def a_case(lines, names) -> tuple[Renderer, SpooledSegment, list[bytes]]:
    """A renderer, a segment, and the events that the two should give, in order."""
    shapes, events, ids = [], [], {}
    for line, role in lines:
        if role == "event" or (role == "continues" and (not shapes or shapes[-1] == SKIPPED)):
            shapes.append(ids.setdefault(shape_of(line), len(ids) + 1))
            events.append(line)
        elif role == "continues":
            shapes.append(CONTINUES)
            events[-1] += b"\n" + line
        else:
            shapes.append(SKIPPED)
    summary = "".join(f"{{{name}}} 100% " for name in names) or "x"
    outcomes = [
        an_outcome(row, template=shape.template, slots=names, summary=summary, status="ok" if row % 3 else "pending")
        for shape, row in ids.items()
    ]
    data = b"".join(line + b"\n" for line, _ in lines)
    fields = {"varlog": {"service.name": 'sh"op', "enrichment.x": 1}}
    return a_renderer(*outcomes, fields=fields), a_segment(data, shapes), events


@settings(max_examples=80, derandomize=True, deadline=None)
@given(CASES, NAMES)
def test_every_event_is_one_valid_object_in_its_place_whatever_its_bytes(lines, names):
    renderer, spooled, events = a_case(lines, names)
    found = records(renderer, spooled)
    assert [one["message"] for one in found] == [event.decode("utf-8", "backslashreplace") for event in events]
    assert all(set(one) >= ALWAYS for one in found)
    assert [one["event.id"] for one in found] == [
        event_id("0123456789abcdef", one["log.offset"], event) for one, event in zip(found, events, strict=True)
    ]


@settings(max_examples=60, derandomize=True, deadline=None)
@given(CASES, NAMES, st.integers(1, 4))
def test_pieces_of_a_page_are_the_page_and_twice_is_the_same(lines, names, count):
    renderer, spooled, events = a_case(lines, names)
    whole = renderer.open(spooled).render(0, len(events))
    pieces = [renderer.open(spooled).render(first, count) for first in range(0, len(events), count)]
    assert whole.data == b"".join(one.data for one in pieces)
    assert whole.lines == sum(one.lines for one in pieces)
    assert whole.data == a_case(lines, names)[0].open(spooled).render(0, len(events)).data


WAITED = st.tuples(
    st.sampled_from(["2026-11-22T10:00:01Z web1 app[7]: ", "Nov 22 10:00:01 web1 app[7]: ", "[x] INFO ", ""]),
    st.sampled_from(["7", "43 ms", "007", "none", "a b c d", '"', "é", "\t", ""]),
)


@settings(max_examples=120, derandomize=True, deadline=None)
@given(st.lists(st.lists(WAITED, min_size=1, max_size=5), min_size=2, max_size=4))
def test_a_page_is_what_it_is_without_the_pages_before_it(pages):
    outcome = an_outcome(template="waited <*> for it", slots=["process.pid"], summary="It took {process.pid}.")
    shared = a_renderer(outcome)
    for lines in pages:
        data = "".join(f"{header}waited {value} for it\n" for header, value in lines).encode()
        spooled = a_segment(data, [1] * len(lines))
        assert records(a_renderer(outcome), spooled) == records(shared, spooled)


OUTCOMES = [
    an_outcome(template="waited <*> for it", slots=["process.pid"], summary="It took {process.pid}."),
    an_outcome(template="waited <*> for it", slots=["duration"], summary="Waited {duration}."),
    an_outcome(template="waited <*> for <*>", slots=["duration", "shard"], summary="{shard} and {duration}."),
    an_outcome(template="waited <*> for it", status="pending"),
]


@settings(max_examples=50, derandomize=True, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(OUTCOMES), st.lists(WAITED, min_size=1, max_size=8), st.booleans())))
def test_a_round_is_what_it_is_without_the_rounds_before_it(rounds):
    known = KnownKinds()
    for outcome, lines, has_fields in rounds:
        data = "".join(f"{header}waited {value} for it\n" for header, value in lines).encode()
        spooled = a_segment(data, [1] * len(lines))
        changes = {"fields": {"varlog": {"team": "shop"}} if has_fields else {}, "pane": len(lines)}
        changes |= {"levels": {1: ("error", 17)}} if len(lines) % 2 else {}
        spooled = replace(spooled, panes=(len(lines),))
        fresh = records(a_renderer(outcome, **changes), spooled)
        assert len(lines) == len(fresh)
        assert fresh == records(a_renderer(outcome, known=known, **changes), spooled)


def test_what_is_known_of_kinds_holds_no_page_and_forgets_what_nobody_needs(monkeypatch):
    monkeypatch.setattr(record_kinds, "_MOST_KEPT", 2)
    known = KnownKinds()
    for shape in range(1, 5):
        outcome = an_outcome(shape, template="waited <*> for it", slots=["shard"], summary="{shard}")
        spooled = a_segment(b"waited 5 for it\nwaited x y for it\n", [shape, shape])
        page = a_renderer(outcome, known=known).open(spooled)
        assert b'.shard":"x y"' in page.render(0, 2).data
        last = weakref.ref(page)
        del page
        assert last() is None
    assert {("varlog", 4)} == known._kept.keys()


def test_times_of_every_width_and_places_of_every_size_stand_before_their_messages():
    lines = [b"2026-11-22T10:00:01Z one", b"2026-11-22T10:00:01.25Z two", b"2026-11-22T10:00:01.123456Z three"] * 3
    found = records(a_renderer(an_outcome()), a_segment(b"\n".join(lines) + b"\n", [1] * len(lines), offset=950))
    places = [950 + sum(len(line) + 1 for line in lines[:at]) for at in range(len(lines))]
    assert places[0] < 1_000 <= places[-1]
    assert places == [one["log.offset"] for one in found]
    assert [line.decode() for line in lines] == [one["message"] for one in found]
    assert [event_id("0123456789abcdef", at, line) for at, line in zip(places, lines, strict=True)] == [
        one["event.id"] for one in found
    ]
    assert ["01Z", "01.250Z", "01.123456Z"] * 3 == [one["@timestamp"].rpartition(":")[2] for one in found]


@settings(max_examples=100, derandomize=True)
@given(st.binary())
def test_escaping_many_lines_is_escaping_each(data):
    assert escape(data).split(b"\n") == [escape(line) for line in data.split(b"\n")]


def test_ids_of_many_events_are_the_ids_of_each():
    events = [b"", b"a", b"b\nc", bytes(range(256))]
    offsets = [0, 1, 2**40, 7]
    expected = [event_id("f" * 16, *pair).encode() for pair in zip(offsets, events, strict=True)]
    assert expected == [b"f" * 16 + row.tobytes() for row in id_ends(np.array(offsets), events)]


def test_an_id_tells_files_places_and_texts_apart_and_sorts_as_the_events_of_a_file_do():
    identity = "0123456789abcdef"
    ids = [event_id(identity, offset, b"the same") for offset in (0, 9, 10, 255, 256, 2**40)]
    assert ids == sorted(set(ids))
    assert {36} == set(map(len, ids))
    assert event_id("f" * 16, 0, b"the same") not in ids
    assert event_id(identity, 0, b"another") not in ids


@settings(max_examples=100, derandomize=True)
@given(st.lists(st.integers(0, 10**18), min_size=1))
def test_numbers_become_the_text_that_python_gives_them(numbers):
    runs = numerals(np.array(numbers, dtype=np.intp))
    assert [b"%d" % number for number in numbers] == [row.tobytes() for _, rows in runs for row in rows]


def test_own_keys_cover_every_key_that_is_not_enrichment():
    assert {key for key in ALWAYS if not key.startswith("enrichment.")} <= OWN_KEYS


def test_times_are_found_once_for_all_panes_of_a_segment_and_forgotten_after_the_last_or_when_they_are_too_many(
    monkeypatch,
):
    asked = []
    found = record_times.line_times
    monkeypatch.setattr(record_times, "line_times", lambda *given: asked.append(1) or found(*given))
    lines = [b"2026-11-22T10:59:59Z a", b"2026-11-22T11:00:00Z b"]
    index = np.array([0, 1], dtype=np.uint8)
    changes = {"windows": (START, START + 3600), "window_index": index}
    spooled = replace(a_segment(b"\n".join(lines) + b"\n", [1, 1], **changes), panes=(0, 0))
    times = record_times.Times(max_bytes=100)
    outcomes = [an_outcome(1)]
    for start in (START, START + 3600):
        renderer = a_renderer(*outcomes, start=start, times=times)
        assert [lines[(start - START) // 3600][:20].decode()] == [
            one["@timestamp"] for one in records(renderer, spooled)
        ]
    assert 1 == len(asked)
    assert {} == times._known
    more = replace(spooled, segment=replace(spooled.segment, offset=7000))
    longer = replace(spooled, segment=replace(spooled.segment, offset=9000))
    for one in (more, longer, spooled):
        records(a_renderer(*outcomes, times=times), one)
    assert 4 == len(asked)
    assert 2 == len(times._known)


def test_a_percent_sign_is_written_as_it_stands():
    spooled = a_segment(b"100% of %b is 50%% used up\n", [1])
    outcome = an_outcome(1, template="<*> of %b is <*> used up", slots=["a", "b"], summary="{a} 5% %b {b}")
    found = records(a_renderer(outcome, host="h%b", fields={"varlog": {"x": "%d %%"}}), spooled)[0]
    assert ("h%b", "%d %%", "100% 5% %b 50%%") == (found["host.name"], found["x"], found["enrichment.summary"])
