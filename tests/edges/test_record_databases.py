"""Records from SQLite and PostgreSQL, and into SQLite: what goes wrong, and what must not be touched."""

from __future__ import annotations

import contextlib
import sqlite3
import traceback

import pytest

from enricher.edges.record_inputs import open_input
from enricher.edges.record_outputs import open_output
from enricher.errors import InputError, OutputError, UsageError
from tests.edges.postgres import served
from tests.edges.record_formats import all_rows, some_rows


def read(spec, query=None, **options):
    source = open_input(spec, query=query, **options)
    try:
        return all_rows(source)
    finally:
        source.close()


# ------------------------------------------------------------ SQLite, in


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "in.db"
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE docs (id INTEGER PRIMARY KEY, text)")
        connection.executemany("INSERT INTO docs (text) VALUES (?)", [("one",), (b"two",), (b"\xff",), (None,)])
        connection.execute("INSERT INTO docs (text) VALUES (CAST(x'fe' AS TEXT))")
    return path


def test_values_of_sqlite_become_those_of_json_and_what_is_no_text_costs_its_row(database):
    keys, values, faults = read(f"{database}#docs")
    assert [row.get("text") for row in values] == ["one", "two", None, None, None]
    assert keys[:2] == ["1", "2"]
    assert [reason for _, reason in faults.values()] == [
        "row 3: column text is not UTF-8: byte 0xff at byte 1",
        "row 5: column text is not UTF-8: byte 0xfe at byte 1",
    ]


def test_the_only_table_needs_no_name_and_any_file_can_be_a_database(database):
    renamed = database.rename(database.with_suffix(".data"))
    assert len(read(f"sqlite:{renamed}")[0]) == 5


@pytest.mark.parametrize(
    ("suffix", "query", "said"),
    [
        ("", "SELECT missing FROM docs", "no such column: missing"),
        ("", "SELECT id, id FROM docs", "two columns named id"),
        ("", "SELECT 1; SELECT 2", "one statement at a time"),
        ("", "DELETE FROM docs", "readonly database"),
        ("", "BEGIN", "gives no rows"),
        ("#other", None, "there is no table other"),
    ],
)
def test_a_query_that_fails_is_refused_with_the_reason(database, suffix, query, said):
    with pytest.raises(UsageError, match=said) as refused:
        read(f"{database}{suffix}", query)
    assert str(database) in str(refused.value)
    assert len(read(str(database))[0]) == 5


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "in.db").write_text("this is no database, however long one looks at it")
    with pytest.raises(InputError, match="is no SQLite database"):
        read(str(tmp_path / "in.db"))


def test_a_query_of_what_is_no_database_is_refused(tmp_path):
    with pytest.raises(UsageError, match="is no database"):
        read(str(tmp_path / "in.csv"), "SELECT 1")


# ------------------------------------------------------------ SQLite, out


def write(spec, rows, columns=("id", "text"), **options):
    output = open_output(spec, **{"overwrite": False, **options})
    output.begin(columns)
    output.write(rows)
    output.finish()


def test_other_tables_stay_and_the_key_is_the_primary_key(database):
    write(f"{database}#answers", some_rows(3))
    with contextlib.closing(sqlite3.connect(database)) as connection:
        tables = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall())
        assert sorted(tables) == ["answers", "docs"]
        assert '"id" PRIMARY KEY' in tables["answers"]
        assert connection.execute("SELECT count(*) FROM docs").fetchone() == (5,)


def test_two_rows_of_one_key_are_both_kept_without_a_primary_key(tmp_path):
    rows = [*some_rows(3), {"id": "k2", "text": "again"}, {"id": "k4", "text": "row 4"}]
    output = open_output(str(tmp_path / "out.db"), overwrite=False)
    output.begin(("id", "text"))
    output.write(rows[:2])
    output.write(rows[2:])
    output.finish()
    assert read(f"{tmp_path / 'out.db'}#records")[1] == rows


def test_a_view_of_the_table_survives_its_replacement(database):
    write(f"{database}#answers", some_rows(3))
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE VIEW seen AS SELECT id FROM answers")
    write(f"{database}#answers", some_rows(4), overwrite=True)
    assert len(read(f"{database}#seen")[0]) == 4
    with pytest.raises(OutputError, match="is a view and no table"):
        open_output(f"{database}#seen", overwrite=True)


def test_values_that_sqlite_has_not_are_text(tmp_path):
    row = {"id": 'a"b', 'odd "name"': 1 << 70, "list": [1, "a"], "mapping": {"a": None}, "yes": True, "none": None}
    write(str(tmp_path / "out.sqlite"), [row], tuple(row))
    assert read(str(tmp_path / "out.sqlite"))[1] == [
        {**row, 'odd "name"': str(1 << 70), "list": '[1,"a"]', "mapping": '{"a":null}'}
    ]


def test_a_file_that_is_no_database_is_not_written_to(tmp_path):
    path = tmp_path / "out.db"
    path.write_text("this is no database, however long one looks at it")
    with pytest.raises(OutputError, match="not a database"):
        open_output(str(path), overwrite=True)


# ------------------------------------------------------------ PostgreSQL


@pytest.fixture(scope="module")
def postgres():
    with served() as directory:
        yield f"postgresql://reader:s3cr3t-w0rd@/postgres?host={directory}"


def ask(postgres, statement):
    import psycopg

    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(statement)


def test_rows_of_postgres_come_in_order_and_again(postgres):
    query = "SELECT 'k' || n AS id, repeat('x', 100) AS text FROM generate_series(1, 20000) AS n ORDER BY n"
    source = open_input(postgres, query=query)
    keys, values, faults = all_rows(source)
    assert (keys[0], keys[-1], len(keys), faults) == ("k1", "k20000", 20_000, {})
    assert (source.key_column, tuple(source.columns()), source.fingerprint()) == ("id", ("id", "text"), "")
    assert all_rows(source) == (keys, values, faults)
    source.close()


def test_values_of_postgres_become_those_of_json(postgres):
    query = """SELECT 1 AS id, 1.50::numeric AS dec, DATE '2026-11-30' AS day, TIMESTAMPTZ '2026-11-30 10:00+00' AS at,
        '{"a": [1, null]}'::jsonb AS json, ARRAY['x', 'y'] AS list, 'NaN'::float8 AS nan, 'abc'::bytea AS bytes,
        '00000000-0000-0000-0000-000000000001'::uuid AS uuid, true AS yes, NULL AS none"""
    ((values,), faults) = read(postgres, query)[1:]
    assert faults == {}
    assert values.pop("at").startswith("2026-11-30T")
    assert values == {
        "id": 1,
        "dec": "1.50",
        "day": "2026-11-30",
        "json": {"a": [1, None]},
        "list": ["x", "y"],
        "nan": None,
        "bytes": "abc",
        "uuid": "00000000-0000-0000-0000-000000000001",
        "yes": True,
        "none": None,
    }


def test_bytes_of_postgres_that_are_no_text_cost_their_row(postgres):
    keys, _, faults = read(postgres, r"SELECT * FROM (VALUES ('a', '\x61'::bytea), ('b', '\xff')) AS t (id, text)")
    assert (keys, faults) == (
        ["a", "row 2"],
        {1: ("unreadable", "row 2: column text is not UTF-8: byte 0xff at byte 1")},
    )


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT nothing", 'column "nothing" does not exist'),
        ("SELECT 1 AS a, 2 AS a", "two columns named a"),
        ("CREATE TABLE made (id int)", "syntax error"),
        ("SELECT nextval('counted')", "read-only transaction"),
    ],
)
def test_a_query_that_postgres_refuses_is_refused_with_the_reason(postgres, query, said):
    ask(postgres, "CREATE SEQUENCE IF NOT EXISTS counted")
    with pytest.raises((UsageError, InputError), match=said) as refused:
        read(postgres, query)
    assert "s3cr3t" not in "".join(traceback.format_exception(refused.value))


def test_postgres_shows_one_state_while_others_write(postgres):
    ask(postgres, "CREATE TABLE growing AS SELECT n AS id FROM generate_series(1, 10000) AS n")
    source = open_input(postgres, query="SELECT id FROM growing ORDER BY id")
    batches = source.rows()
    count = len(next(batches).keys)
    ask(postgres, "INSERT INTO growing SELECT n FROM generate_series(10001, 20000) AS n")
    count += sum(len(batch.keys) for batch in batches)
    assert count == 10_000
    source.close()


def test_the_password_is_in_no_name_no_error_and_no_representation(postgres):
    source = open_input(postgres, query="SELECT 1 AS id")
    assert "s3cr3t" not in source.name + repr(source) + repr(vars(source)) + repr(vars(source._reader).keys())
    assert source.name.startswith("postgresql://reader@")
    source.close()
    for wrong in (
        postgres.replace("s3cr3t-w0rd", "wr0ng-w0rd"),
        postgres.replace("s3cr3t-w0rd", "wr0ng-w0rd%zz"),
        "postgresql://reader:wr0ng-w0rd@127.0.0.1:1/db",
    ):
        with pytest.raises((InputError, UsageError)) as refused:
            read(wrong, "SELECT 1")
        assert "wr0ng" not in "".join(traceback.format_exception(refused.value)) + refused.value.hint


def test_a_query_is_asked_for(postgres):
    with pytest.raises(UsageError, match="a query is needed"):
        open_input(postgres)
