"""Records of structured lines: fields, message, level and values, whatever the lines hold."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core.block import CONTINUES
from enricher.core.naming import kind_of
from enricher.core.signature import ShapeIndex
from enricher.core.skeleton import logged_level, shape_of
from enricher.core.structured.reading import MAX_TEXT_CHARACTERS, reader_for
from enricher.core.timestamp import TimeContext, first_time
from tests.core.structured_lines import audit_events
from tests.core.test_journal_export import a_record
from tests.core.test_record import a_renderer, a_segment, an_outcome, records

LOGIN = (
    b'{"ts":1795341600.25,"level":"warn","msg":"login failed from 10.0.0.7","user":"ann","tries":3,"ok":false,"x":null}'
)


def records_of(*lines: bytes, slots: bool = True, **changes) -> list[dict]:
    """The records of lines in one segment, with an answer that names the holes v1, v2 …"""
    shapes: dict = {}

    def intern(wanted):
        return [shapes.setdefault(shape, len(shapes) + 1) for shape in wanted]

    data = b"\n".join(lines) + b"\n"
    ids = ShapeIndex().resolve(data, intern).tolist()
    outcomes, levels = [], {}
    for shape, row in shapes.items():
        names = [f"v{at}" for at in range(1, shape.template.count("<*>") + 1)] if slots else []
        outcomes.append(an_outcome(row, template=shape.template, slots=names))
        if level := logged_level(shape):
            levels[row] = level
    return records(a_renderer(*outcomes, levels=levels, **changes), a_segment(data, ids))


def fields(record: dict) -> dict:
    return {key.removeprefix("log.fields."): value for key, value in record.items() if key.startswith("log.fields.")}


def values(record: dict) -> list[str]:
    found = {key: value for key, value in record.items() if key.startswith("enrichment.fields.v")}
    return [found[f"enrichment.fields.v{at}"] for at in range(1, len(found) + 1)]


def test_the_fields_of_an_object_stay_what_they_were_in_json():
    (record,) = records_of(LOGIN)
    assert {"ts": 1795341600.25, "level": "warn", "user": "ann", "tries": 3, "ok": False, "x": None} == fields(record)
    assert "login failed from 10.0.0.7" == record["message"]
    assert ("warning", 13) == (record["log.level"], record["severity_number"])
    assert "2026-11-22T10:00:00.250Z" == record["@timestamp"]


def test_the_values_of_an_object_are_those_of_the_message_then_of_fields_by_name():
    (record,) = records_of(LOGIN)
    assert "login failed from <*> ok=false tries=<*> user=<*> x=<*>" == record["log.record.template"]
    assert ["10.0.0.7", "3", "ann", ""] == values(record)


def test_values_that_an_answer_names_have_the_type_of_their_field():
    lines = [b'{"msg":"call from 10.0.0.7","size":%b}' % size for size in (b"22", b'"0x1F"', b'"init"', b"1.5", b"23")]
    (shape,) = {shape_of(line) for line in lines}
    outcome = an_outcome(template=shape.template, slots=["source.ip", "file.size"])
    found = records(a_renderer(outcome), a_segment(b"\n".join(lines) + b"\n", [1] * len(lines)))
    assert {"10.0.0.7"} == {one["source.ip"] for one in found}
    assert [22, 31, None, None, 23] == [one.get("file.size") for one in found]
    assert [None, None, "init", "1.5", None] == [one.get("enrichment.fields.file.size") for one in found]
    assert [22, "0x1F", "init", 1.5, 23] == [one["log.fields.size"] for one in found]


def test_nested_objects_get_dotted_names_and_lists_stay_lists():
    (record,) = records_of(
        b'{"event":"x y","a":{"b":{"c":1.5}},"l":[1,"two",null],"o":[{"p":1},{"p":2}],"e":{},"n":[]}'
    )
    assert {"a.b.c": 1.5, "l": [1, "two", None], "o.0.p": 1, "o.1.p": 2} == fields(record)
    assert "x y" == record["message"]


def test_a_line_whose_fields_are_not_all_written_stays_the_message():
    deep = b'{"msg":"x","a":' + b'{"b":' * 20 + b"1" + b"}" * 21
    long = json.dumps({"msg": "x", "text_": "y" * (MAX_TEXT_CHARACTERS + 1)}).encode()
    many = json.dumps({"msg": "x"} | {f"key{chr(97 + at // 26)}{chr(97 + at % 26)}": at for at in range(300)}).encode()
    for line in (deep, long, many):
        (record,) = records_of(line, slots=False)
        assert line.decode() == record["message"]
        assert len(json.dumps(record)) < 3 * len(line) + 2_000


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("__proto__", "__proto___"),
        ("constructor", "constructor_"),
        ("a\x00b\x1b[31m", "a_b__31m"),
        ("", "_"),
        ("..", "_._._"),
        ("\u202eevil", "_evil"),
        ('q"uo\\te', "q_uo_te"),
    ],
)
def test_the_name_of_a_field_becomes_one_that_harms_nobody(name, written):
    (record,) = records_of(json.dumps({"msg": "x", name: 1, "other": 2}).encode())
    assert {written: 1, "other": 2} == fields(record)


def test_a_name_of_a_megabyte_and_a_name_given_twice_are_written_once_and_short():
    (record,) = records_of(b'{"msg":"x","a.b":1,"a":{"b":2},"' + b"k" * 30_000 + b'":3}', slots=False)
    assert 2 == len(fields(record))
    assert 1 == fields(record)["a.b"]
    assert all(len(name) <= 120 for name in fields(record))


def test_a_number_that_no_reader_can_hold_is_text():
    (record,) = records_of(b'{"msg":"x","n":123456789012345678901234567890,"m":9223372036854775807}')
    assert {"n": "123456789012345678901234567890", "m": 9223372036854775807} == fields(record)


@pytest.mark.parametrize(
    ("line", "level"),
    [
        (b'{"level":50,"msg":"x","n":1}', ("error", 17)),
        (b"<163>1 2026-11-22T10:00:00Z web1 app 7 - - it broke", ("error", 17)),
        (b'{"MESSAGE":"x","PRIORITY":"4","_PID":"1"}', ("warning", 13)),
        (b"ts=1795341600 level=error msg=x", ("error", 17)),
    ],
)
def test_a_level_written_as_a_word_or_as_a_number_is_the_events_level(line, level):
    (record,) = records_of(line)
    assert level == (record["log.level"], record["severity_number"])


def test_wrapped_lines_give_the_line_inside_and_its_values():
    text = b"2026-11-22 10:00:00 INFO worker: job 12 done"
    wrapped = json.dumps({"log": text.decode() + "\n", "stream": "stdout", "time": "2026-11-22T10:00:00.5Z"}).encode()
    cri, docker, bare = records_of(b"2026-11-22T10:00:00.25Z stdout F " + text, wrapped, text)
    assert text.decode() == cri["message"] == docker["message"] == bare["message"]
    assert ["12"] == values(cri) == values(docker) == values(bare)
    assert {"stream": "stdout", "tag": "F"} == fields(cri)
    assert "2026-11-22T10:00:00.500Z" == docker["@timestamp"]


def test_what_stands_before_an_object_is_kept():
    (record,) = records_of(b'Nov 22 10:00:00 web1 app[7]: {"msg":"job 12 done","level":"info"}')
    assert {"header": "Nov 22 10:00:00 web1 app[7]:", "level": "info"} == fields(record)
    assert ("job 12 done", ["12"]) == (record["message"], values(record))


def test_a_request_has_its_parts_as_fields_and_the_whole_line_as_its_message():
    line = b'10.0.0.1 - ann [22/Nov/2026:10:00:00 +0000] "GET /api/users/42?x=1 HTTP/1.1" 404 12 "-" "curl/8"'
    (record,) = records_of(line)
    assert line.decode() == record["message"]
    assert {
        "method": "GET", "path": "/api/users/42", "query": "x=1", "client_ip": "10.0.0.1", "user": "ann", "status": 404,
        "bytes": 12, "protocol": "HTTP/1.1", "user_agent": "curl/8",
    } == fields(record)  # fmt: skip
    assert "GET /api/users/<*> bytes=<*> client_ip=<*> status=<*>" == record["log.record.template"]
    assert ["42", "12", "10.0.0.1", "404"] == values(record)


def test_an_escape_that_collapsing_broke_leaves_the_message_and_its_values_whole():
    (record,) = records_of(b'{"msg":"caf\\u00e9 of \\u0041nn opened 12 \\u003cdoors\\u003e","k":"\\ud83d\\ude00"}')
    assert "café of Ann opened 12 <doors>" == record["message"]
    assert "😀" == fields(record)["k"]


def test_broken_lines_of_a_kind_are_written_as_they_are():
    for line in (b'{"msg":"x\xff","n":1}', b'{"msg":"x\x00y","n":1}', b'{"msg":"\\ud800","n":007}'):
        (record,) = records_of(line)
        assert {} == fields(record)


def test_lines_among_structured_ones_are_written_as_without_them():
    text = b"2026-11-22T10:00:00Z web1 sshd[42]: Failed password for user=ann port 22"
    (alone,) = records_of(text)
    *_, among = records_of(LOGIN, *audit_events(5), text)
    for record in (alone, among):
        for key in ("event.id", "log.offset", "enrichment.signature", "log.file.path"):
            del record[key]
    assert alone == among


def test_static_fields_of_a_source_win_over_fields_of_its_lines():
    (record,) = records_of(LOGIN, fields={"varlog": {"log.fields.user": "static"}})
    assert "static" == record["log.fields.user"]


_PIECES = st.sampled_from(
    [
        *(
            b'{"msg":"a","u":"',
            b'"}',
            b"\\u00",
            b'\\"',
            b"\\",
            b"\xff",
            b"\x00",
            b'{"a":',
            b"[",
            b"]",
            b"}",
            b"1",
            b",",
            b'"',
        ),
        *(b'"k":', b"level=info msg=x a=", b"CEF:0|a|b|c|d|e|5|k=", b'<14>1 2026-11-22T10:00:00Z h a 1 - [x a="', b" "),
        *(
            b"2026-11-22T10:00:00Z stdout F ",
            b"\xc2\x85",
            b"\x7f",
            b'{"log":"',
            b'","stream":"s"}',
            b"\r",
            b"\t",
            b"%s%b",
        ),
        *("\u202e".encode(), b'1.1.1.1 - - [22/Nov/2026:10:00:00 +0000] "GET /a'),
    ]
)


@settings(max_examples=120, derandomize=True, deadline=None)
@given(st.lists(st.lists(_PIECES, max_size=8).map(b"".join), min_size=1, max_size=4))
def test_every_record_is_one_json_object_whatever_its_line_holds(lines):
    wanted = [line for line in lines if line.strip()]
    found = records_of(*lines)
    assert len(wanted) == len(found)
    for record in found:
        assert isinstance(record["message"], str)


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        (b'{"t":1795341600,"m":1}', 1795341600),
        (b'{"@t":"2026-11-22T10:00:00Z"}', 1795341600),
        (b'{"eventTime":"2026-11-22T10:00:00Z"}', 1795341600),
        (
            b'{"meta":{"time":"2020-01-01T00:00:00Z","x":"}"},"requestReceivedTimestamp":"2026-11-22T10:00:00Z"}',
            1795341600,
        ),
        (b'{"meta":{"time":"2026-11-22T10:00:00Z"}}', 1795341600),
        (b"CEF:0|a|b|c|d|e|f|src=1.1.1.1 rt=1795341600000", 1795341600),
        (b"LEEF:1.0|a|b|c|d|devTime=2026-11-22T10:00:00Z\tx=1", 1795341600),
    ],
)
def test_the_time_of_a_structured_line_is_that_of_its_own_members(line, seconds):
    context = TimeContext(anchor=None, fallback=0.0, now=2e9, zone="UTC", pattern=None)
    assert seconds == first_time(line, context)


def test_an_object_of_a_quarter_megabyte_is_written():
    for line in (json.dumps({"msg": "x" * 200_000}).encode(), b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"):
        assert shape_of(line).id
        (record,) = records_of(line, slots=False)
        assert len(record["message"]) >= 200_000


_NUMBERS = st.one_of(
    st.integers(-(10**19), 10**19),
    st.floats(allow_nan=False, allow_infinity=False),
    st.decimals(-(10**10), 10**10, places=6).map(float),
    st.sampled_from([0.0, -0.0, 0.00001, 0.001, 1e5, 1795341600.123456, 4294967296.000001, -1.5]),
)
_SCALARS = st.one_of(
    _NUMBERS, st.booleans(), st.none(), st.text(max_size=6), st.sampled_from(["", " ", "ann", "a%b", "\\"])
)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.lists(st.tuples(_SCALARS, st.text(max_size=5), _SCALARS), min_size=2, max_size=4), st.booleans())
def test_a_line_read_by_the_pattern_of_another_is_written_as_if_read_alone(rows, compact):
    separators = (",", ":") if compact else None
    lines = [
        json.dumps({"a": one, "msg": f"job {text} done", "o": {"b": other}}, separators=separators).encode()
        for one, text, other in rows
    ]
    template, groups = "job <*> done a=<*> o.b=<*>", (1, 2, 3)
    together = reader_for(lines[0], template, groups, has_level=False, taken=())
    for line in lines:
        alone = reader_for(lines[0], template, groups, has_level=False, taken=())
        assert alone.read(line) == together.read(line)


def test_lines_of_one_spelling_are_read_by_one_pattern(monkeypatch):
    lines = [b'{"msg":"job %d done","user":"ann","n":%d}' % (at, at) for at in range(20)]
    reader = reader_for(lines[0], "job <*> done n=<*> user=<*>", (1, 3), has_level=False, taken=())
    reader.read(lines[0])
    monkeypatch.setattr("enricher.core.structured.reading.parse", None)
    read = [reader.read(line) for line in lines]
    assert [(b"%d" % at, b"ann") for at in range(20)] == [one.values for one in read]
    assert b',"log.fields.user":"ann","log.fields.n":7' == read[7].fields


def journal_records(*exported: bytes) -> list[dict]:
    """The records of what `journalctl -o export` wrote, each record a kind of its own."""
    data, ids, outcomes = b"", [], []
    for number, record in enumerate(exported, start=1):
        first, _, rest = record.removesuffix(b"\n").partition(b"\n")
        shape = kind_of(first, rest)
        assert shape is not None
        names = [f"v{at}" for at in range(1, shape.template.count("<*>") + 1)]
        outcomes.append(an_outcome(number, template=shape.template, slots=names))
        data += record
        ids += [number] + [CONTINUES] * (record.count(b"\n") - 1)
    return records(a_renderer(*outcomes), a_segment(data, ids))


def test_a_record_of_the_journal_is_its_message_and_its_fields():
    (record,) = journal_records(a_record(b"Invalid user ann from 10.0.0.7 port 22"))

    assert "Invalid user ann from 10.0.0.7 port 22" == record["message"]
    assert {"SYSLOG_IDENTIFIER": "sshd", "_PID": "1", "PRIORITY": "6", "_BOOT_ID": "45f"}.items() <= fields(
        record
    ).items()
    assert "10.0.0.7" in values(record)
    assert ("info", 9) == (record["log.level"], record["severity_number"])


def test_a_record_of_the_journal_with_a_long_value_is_read_to_its_end():
    (record,) = journal_records(a_record(b"two\n\nlines", is_long=True))

    assert "two\n\nlines" == record["message"]
    assert "1" == fields(record)["_PID"]


def test_a_field_that_a_record_of_the_journal_has_twice_keeps_both_values():
    doubled = a_record(b"hello there").replace(b"_PID=1\n", b"_PID=1\nCODE=a\nCODE=b\n_PID=1\n")

    (record,) = journal_records(doubled)

    assert ["a", "b"] == fields(record)["CODE"]
