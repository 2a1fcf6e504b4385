"""JSON lines, CSV and TSV as they are found: damaged, in other encodings, and of a size."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import tracemalloc

import pytest
import zstandard

from enricher.edges.record_inputs import open_input
from enricher.errors import InputError, UsageError
from tests.edges.record_formats import all_rows


@pytest.fixture
def read(tmp_path):
    def read_bytes(name, data, **options):
        (tmp_path / name).write_bytes(data)
        source = open_input(str(tmp_path / name), **options)
        try:
            return all_rows(source)
        finally:
            source.close()

    return read_bytes


# ------------------------------------------------------------ JSON lines


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"id": "\xff"}', "line 2: it is not UTF-8: byte 0xff at byte 9 of the line"),
        (b'{"id": "b"', "line 2: it is no JSON object: Input data was truncated"),
        (b'["b"]', "line 2: it is no JSON object"),
        (b'{"id": "b"} {"id": "c"}', "line 2: it is no JSON object: JSON is malformed: trailing characters (byte 13)"),
        (b'{"id": NaN}', "line 2: it is no JSON object: JSON is malformed: invalid character (byte 7)"),
        (b'{"id":' * 5000, "line 2: it is nested too deeply"),
        (b'{"id": {"b": 1}}', "line 2: its key column id holds a mapping"),
        (b'{"id": null}', "line 2: its key column id is empty"),
        (b'{"text": "b"}', "line 2: its key column id is empty"),
    ],
)
def test_a_line_that_is_no_row_is_named_and_costs_no_other(read, line, reason):
    keys, values, faults = read("in.jsonl", b'{"id": "a"}\n' + line + b'\n{"id": "c"}\n', key="id")
    assert faults == {1: ("unreadable", reason)}
    assert keys == ["a", "line 2", "c"]
    assert (values[0], values[2]) == ({"id": "a"}, {"id": "c"})


def test_blank_lines_are_no_rows_but_lines(read):
    keys, values, faults = read("in.jsonl", b'\n{"t": 1}\r\n \r\n{"t": 2}\n\n[]')
    assert (keys, values[:2], faults) == (
        ["1", "2", "3"],
        [{"t": 1}, {"t": 2}],
        {2: ("unreadable", "line 6: it is no JSON object")},
    )


def test_numbers_are_keys_as_json_writes_them(read):
    assert read("in.jsonl", b'{"id": 7}\n{"id": 1.5}\n{"id": true}\n')[0] == ["7", "1.5", "true"]


def test_a_line_longer_than_a_row_may_be_is_a_fault_and_is_not_held(tmp_path, monkeypatch):
    monkeypatch.setattr("enricher.edges.record_inputs.jsonl.MAX_ROW_BYTES", 3 << 20)
    with (tmp_path / "in.jsonl").open("wb") as file:
        file.writelines((b'{"id": "a"}\n{"id": "', *[b"x" * 65536] * 320, b'"}\n{"id": "c"}\n'))
    tracemalloc.start()
    source = open_input(str(tmp_path / "in.jsonl"))
    keys, _, faults = all_rows(source)
    source.close()
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (keys, faults) == (["a", "line 2", "c"], {1: ("unreadable", "line 2: it is longer than 3 MiB")})
    assert held < 12 << 20


def test_a_file_of_another_format_is_refused_as_a_whole(read):
    with pytest.raises(InputError, match="no line can be read; line 1: it is no JSON object") as refused:
        read("in.jsonl", b'[\n{"id": "a",\n"b": 1},\n')
    assert "jq" in refused.value.hint


# ------------------------------------------------------------ any file


@pytest.mark.parametrize(
    "pack", [gzip.compress, zstandard.ZstdCompressor(write_checksum=True).compress], ids=["gzip", "zstd"]
)
@pytest.mark.parametrize("cut", [5, -1, -9])
def test_a_compressed_file_that_is_cut_off_is_no_end(read, pack, cut):
    data = pack(b"".join(b'{"id": "%d", "text": "%s"}\n' % (n, os.urandom(20).hex().encode()) for n in range(50_000)))
    with pytest.raises(InputError, match=r"in\.jsonl is damaged or cut off"):
        read("in.jsonl", data[: len(data) + cut if cut < 0 else len(data) // 2])


@pytest.mark.parametrize(
    "pack", [gzip.compress, zstandard.ZstdCompressor(write_checksum=True).compress], ids=["gzip", "zstd"]
)
def test_members_of_a_compressed_file_follow_each_other(read, pack):
    assert read("in.jsonl", pack(b'{"id": "a"}\n{"id"') + pack(b"") + pack(b': "b"}\n'))[0] == ["a", "b"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["in.jsonl", "in.csv"])
def test_a_byte_order_mark_tells_the_encoding(read, name, encoding):
    text = '{"id": "é", "text": "€𝄞"}\n' if name == "in.jsonl" else "id,text\né,€𝄞\n"
    assert read(name, text.encode(encoding))[1] == [{"id": "é", "text": "€𝄞"}]


@pytest.mark.parametrize("name", ["in.jsonl", "in.csv"])
def test_an_encoding_that_is_named_is_read_and_what_is_not_of_it_is_a_fault(read, name):
    head, row = (b"", b'{"id": "%s"}\n') if name == "in.jsonl" else (b"id\n", b"%s\n")
    keys, values, faults = read(name, head + row % b"\xe9" + row % b"\x81" + row % b"\x80", encoding="windows-1252")
    assert ([values[0], values[2]], keys[0], keys[2]) == ([{"id": "é"}, {"id": "€"}], "é", "€")
    assert [reason.partition(": ")[2] for _, reason in faults.values()] == ["it is not cp1252"]


def test_an_encoding_that_does_not_exist_is_refused(read):
    with pytest.raises(UsageError, match="no such encoding: utf-9"):
        read("in.csv", b"", encoding="utf-9")


def test_a_format_that_no_name_tells_is_asked_for(tmp_path):
    (tmp_path / "in.dat").touch()
    with pytest.raises(UsageError, match=r"in\.dat holds is not told by its name") as refused:
        open_input(str(tmp_path / "in.dat"))
    assert "jsonl, csv" in refused.value.hint
    with pytest.raises(InputError, match="nothing does not exist"):
        open_input(str(tmp_path / "nothing"))


@pytest.mark.parametrize(("options", "sent"), [("", b'{"id": "a"}\n'), (", file_format='csv'", b"id\na\n")])
def test_standard_input_is_read_once(options, sent):
    code = f"""
from enricher.edges.record_inputs import open_input
from enricher.errors import InputError
source = open_input("-"{options})
print(source.name, source.key_column, repr(source.fingerprint()), [list(rows.values) for rows in source.rows()])
try:
    next(source.rows())
except InputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True, check=True)
    assert done.stdout.decode() == (
        "standard input id '' [[{'id': 'a'}]]\nstandard input can be read only once, and was read\n"
    )


# ------------------------------------------------------------ CSV and TSV


def test_quotes_and_line_ends_in_fields_are_read(read):
    keys, values, faults = read("in.csv", b'id,text\r\na,"x, ""y""\r\nz"\r\n\r\n"b"," c "\r\n')
    assert (keys, faults) == (["a", "b"], {})
    assert [row["text"] for row in values] == ['x, "y"\r\nz', " c "]


@pytest.mark.parametrize("delimiter", [b",", b";", b"\t"])
def test_the_header_tells_the_delimiter(read, delimiter):
    assert read("in.csv", b"id|text\na|b\n".replace(b"|", delimiter))[1] == [{"id": "a", "text": "b"}]


def test_rows_that_are_none_are_named_by_their_first_line_and_cost_no_other(read):
    data = b'id,text\na,"1\n2"\nb\nc,1,2\nd,"x"y\n\xff,e\nf,\xc3\xa9\n'
    keys, values, faults = read("in.csv", data)
    assert keys == ["a", "line 4", "line 5", "line 6", "line 7", "f"]
    assert (values[0]["text"], values[5]["text"]) == ("1\n2", "é")
    assert [reason for _, reason in faults.values()] == [
        "line 4: 1 fields where the header has 2",
        "line 5: 3 fields where the header has 2",
        "line 6: it is no row of CSV: ',' expected after '\"'",
        "line 7: it is not UTF-8: byte 0xff in column id",
    ]


def test_a_quote_that_is_not_closed_is_an_error_that_names_its_line(read):
    with pytest.raises(InputError, match="line 3: a quote that opens in this row is not closed"):
        read("in.csv", b'id,text\na,b\nc,"d\ne,f\n')


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b"id,text,id", "columns 1 and 3 are both named id"),
        (b"id,,text", "column 2 has no name"),
        (b"id,t\xe9xt", "its header is not UTF-8"),
        (b'"id', "its header cannot be read"),
    ],
)
def test_a_header_that_names_no_columns_is_refused(read, header, said):
    with pytest.raises(InputError, match=said):
        read("in.csv", header + b"\na,b,c\n")


@pytest.mark.parametrize("data", [b"", b"id,text\n", b"\n\nid,text"])
def test_a_header_alone_is_a_table_without_rows(read, data):
    assert read("in.csv", data) == ([], [], {})


def test_a_line_without_end_is_not_held(read, monkeypatch):
    monkeypatch.setattr("enricher.edges.record_inputs.delimited.MAX_ROW_BYTES", 3 << 20)
    with pytest.raises(InputError, match="a line is longer than 3 MiB"):
        read("in.csv", b"id,text\n" + b"x" * (8 << 20))


# ------------------------------------------------------------ size


@pytest.mark.parametrize("name", ["in.jsonl", "in.csv"])
def test_a_hundred_thousand_rows_are_read_in_the_memory_of_a_few_thousand(tmp_path, name):
    row = b'{"id": "%d", "text": "' + b"x" * 180 + b'"}\n' if name == "in.jsonl" else b"%d," + b"x" * 180 + b"\n"
    with (tmp_path / name).open("wb") as file:
        file.write(b"" if name == "in.jsonl" else b"id,text\n")
        file.writelines(row % n for n in range(100_000))
    tracemalloc.start()
    source = open_input(str(tmp_path / name))
    count = sum(len(batch.keys) for batch in source.rows())
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    source.close()
    assert count == 100_000
    assert held < 16 << 20
