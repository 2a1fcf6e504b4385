"""The configuration: defaults, faults, and the shipped file."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from enricher import config
from enricher.core.loopback import is_loopback
from enricher.errors import ConfigError
from enricher.provider import load_task

SHIPPED = Path(__file__).parent.parent / "config" / "enricher.toml"


def faults_of(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config.parse(tomllib.loads(text), origin="f.toml")
    return caught.value.faults


def test_shipped_file_holds_every_option_at_its_default():
    assert config.Config() == config.load(SHIPPED)
    document = tomllib.loads(SHIPPED.read_text())
    unset = {"time_pattern", "prices"}  # options without a default: shown as comments
    for name, field in config.Config.model_fields.items():
        assert name in document or name in unset
        table = document.get(name)
        table = table[0] if isinstance(table, list) else table
        if isinstance(table, dict):
            model = field.annotation if isinstance(field.annotation, type) else None
            inner = {"sources": config.SourceSettings, "sinks": config.SinkSettings}.get(name, model)
            assert set(inner.model_fields) - unset == set(table)


def test_options_without_a_default_work_as_their_comments_show_them():
    text = SHIPPED.read_text()
    for start in ("# time_pattern", "# [prices]", "# input_usd", "# cached_usd", "# output_usd", "# batch_", "# as_of"):
        text = text.replace(start, start.removeprefix("# "))
    loaded = config.parse(tomllib.loads(text), origin="f")
    assert loaded.sources[0].time_pattern is not None
    assert loaded.prices is not None


def test_every_fault_is_reported_at_once_and_names_its_key():
    faults = faults_of("""
        state_dir = 5
        surprise = 1
        [[sources]]
        id = "a b"
        include = "x"
        start = "yesterday"
        timezone = "Mars/Olympus"
        drop = ["("]
        [window]
        length = "2h"
        [batch]
        poll_interval_seconds = "6"
        [provider]
        base_url = "ftp://x"
        [admin]
        listen = "nowhere"
    """)
    for key in (
        "state_dir", "surprise", "sources[0].id", "sources[0].include", "sources[0].start", "sources[0].timezone",
        "sources[0].drop", "window.length", "batch.poll_interval_seconds", "provider.base_url", "admin.listen",
    ):  # fmt: skip
        assert 1 == sum(fault.startswith(f"f.toml: {key}: ") for fault in faults), (key, faults)
    assert 11 == len(faults)


@pytest.mark.parametrize("table", ["sources", "sinks"])
def test_two_tables_with_one_id_are_refused(table):
    body = 'include = ["/x"]' if table == "sources" else 'directory = "/x"'
    text = f'[[{table}]]\nid = "a"\n{body}\n[[{table}]]\nid = "a"\n{body}\n'
    assert "two tables have the id 'a'" in faults_of(text)[0]


def test_missing_id_is_refused():
    assert ["f.toml: sources[0].id: is missing"] == faults_of('[[sources]]\ninclude = ["/x"]\n')


def test_types_are_not_guessed():
    assert "is a number" in faults_of('[batch]\npoll_interval_seconds = "6"')[0]
    assert "is a whole number" in faults_of("[batch]\nmax_requests = 1.5")[0]
    assert "is a table" in faults_of("window = 3")[0]


def test_fractions_of_seconds_are_taken():
    assert (
        config.parse(tomllib.loads("[batch]\npoll_interval_seconds = 0.2"), origin="f").batch.poll_interval_seconds
        == 0.2
    )


def test_key_in_the_address_is_refused_and_not_shown():
    fault = faults_of('[provider]\nbase_url = "https://user:hunter2@host/v1"')[0]
    assert "hunter2" not in fault


def test_missing_unreadable_and_broken_files_are_named(tmp_path):
    for name, content in (("absent", None), ("latin", b"\xff\xfe"), ("broken", b"a = [")):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            config.load(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("127.8.9.1", True), ("::1", True), ("10.0.0.1", False), ("evil.localhost.com", False)],
)
def test_loopback_is_told_from_other_hosts(host, expected):
    assert expected == is_loopback(host)


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("'auto'", ("auto", None)),
        ("'off'", ("off", None)),
        ("{ start = '^\\[' }", ("start", "^\\[")),
        ("{ continues = '^> ' }", ("continues", "^> ")),
    ],
)
def test_lines_are_joined_as_the_source_says(value, rule):
    text = f"[[sources]]\nid = 'a'\ninclude = ['/x']\nmultiline = {value}\n"
    assert rule == config.parse(tomllib.loads(text), origin="f").sources[0].multiline.rule


@pytest.mark.parametrize("value", ["3", "'on'", "{}", "{ start = 'a', continues = 'b' }", "{ mode = 'off' }"])
def test_other_rules_for_joining_lines_are_refused_with_what_there_is(value):
    (fault,) = faults_of(f"[[sources]]\nid = 'a'\ninclude = ['/x']\nmultiline = {value}\n")
    assert fault.startswith('f.toml: sources[0].multiline: is "auto", "off", { start = ')


@pytest.mark.parametrize(
    ("option", "where"),
    [
        ("drop = ['(a+)+$']", "drop"),
        ("multiline = { start = '(a+)+$' }", "multiline.start"),
        ("multiline = { continues = '(' }", "multiline.continues"),
        ("time_pattern = { regex = '(?P<time>(a+)+)$', format = '%d' }", "time_pattern.regex"),
    ],
)
def test_patterns_that_could_take_for_ever_are_refused_wherever_they_stand(option, where):
    (fault,) = faults_of(f"[[sources]]\nid = 'a'\ninclude = ['/x']\n{option}\n")
    assert fault.startswith(f"f.toml: sources[0].{where}: ")
    assert "(?>...)" in fault or "is no regular expression" in fault


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("state_dir = '~nobody-is-named-so/x'", "state_dir: there is no user whose home ~nobody-is-named-so could be"),
        ("state_dir = ''", "state_dir: is empty"),
        ('state_dir = "a\\u0000b"', "state_dir: holds a control character"),
        ("[[sinks]]\nid = 'f'\ndirectory = ' '", "sinks[0].directory: is empty"),
        ("[[sources]]\nid = 'a'\ninclude = []", "sources[0].include: needs at least one path or glob"),
        ("[[sources]]\nid = 'a'\ninclude = [5]", "sources[0].include[0]: is text in quotes, not 5"),
        ("[[sources]]\nid = 'a'\ninclude = ['']", "sources[0].include[0]: is empty"),
        # An empty pattern is found in every line.
        ("[[sources]]\nid = 'a'\ninclude = ['x']\ndrop = ['']", "sources[0].drop[0]: is empty"),
        (
            "[[sources]]\nid = 'a b'\ninclude = ['x']",
            "sources[0].id: is 1 to 64 letters, digits, dots, dashes and underscores, not 'a b'",
        ),
        (
            "[[sources]]\nid = 'a'\ninclude = ['x']\nfields = { a = [1] }",
            "sources[0].fields: 'a' is text, a finite number, true or false, not a list",
        ),
        (
            "[[sources]]\nid = 'a'\ninclude = ['x']\nfields = { n = nan }",
            "sources[0].fields: 'n' is text, a finite number, true or false, not nan",
        ),
        (
            '[[sources]]\nid = "a"\ninclude = ["x"]\nfields = { "a\\nb" = 1 }',
            "sources[0].fields: 'a\\nb' is no name for a field",
        ),
        (
            f"[[sources]]\nid = 'a'\ninclude = ['x']\nstart = 'since:{10**20}d'",
            'sources[0].start: is longer ago than there are files: "beginning" takes all of them',
        ),
        (
            "[window]\nallowed_lateness = 5",
            "window.allowed_lateness: there is no such option; did you mean allowed_lateness_seconds?",
        ),
        (
            "[[sinks]]\nid = 'f'\ndirectory = 'x'\ncompression = 'gzip'",
            "sinks[0].compression: there is no such option; did you mean compress?",
        ),
        ("[windows]\nlength = '1d'", "windows: there is no such option; did you mean window?"),
        ("[window]\nmax_wait_hours = true", "window.max_wait_hours: is a number, not true"),
        ("[provider]\nmodel = ' '", "provider.model: is empty"),
        (
            "[provider]\nbase_url = 'http://x:99999/v1'",
            "provider.base_url: is an address such as https://api.openai.com/v1",
        ),
        (
            "[provider]\nbase_url = 'http://[::1/v1'",
            "provider.base_url: is an address such as https://api.openai.com/v1",
        ),
        (
            "[provider]\nbase_url = 'http://x y/v1'",
            "provider.base_url: is an address such as https://api.openai.com/v1",
        ),
        (
            "[batch]\npoll_interval_seconds = 1e-9",
            "batch.poll_interval_seconds: is greater than or equal to 0.01, not 1e-09",
        ),
        (
            "[batch]\npoll_interval_seconds = 7200",
            "batch.poll_interval_seconds: is less than or equal to 3600, not 7200",
        ),
        (
            "[admin]\nlisten = '127.0.0.1:²'",
            'admin.listen: is "HOST:PORT", such as "127.0.0.1:9464"; port 0 takes a free one',
        ),
        (
            "[admin]\nlisten = 'logs..example:9464'",
            'admin.listen: is "HOST:PORT", such as "127.0.0.1:9464"; port 0 takes a free one',
        ),
        (
            '[admin]\nlisten = "a\\u0000:1"',
            'admin.listen: is "HOST:PORT", such as "127.0.0.1:9464"; port 0 takes a free one',
        ),
        ('[task]\nfile = "./a\\u0000.toml"', "task.file: holds a control character"),
    ],
)
def test_values_that_nothing_could_be_done_with_are_refused_with_what_is_expected(text, fault):
    assert [f"f.toml: {fault}"] == faults_of(text)


def test_two_sinks_in_one_directory_are_refused_since_they_would_write_over_each_other(tmp_path):
    sink = f"[[sinks]]\nid = '%s'\ndirectory = '{tmp_path}%s'\n"
    (fault,) = faults_of(sink % ("a", "") + sink % ("b", "/"))
    assert f"sinks: two tables write to {tmp_path}" in fault


@pytest.mark.parametrize("notation", ["%Q", "", "%Y"])
def test_time_format_that_cannot_be_read_is_refused_when_it_is_loaded(notation):
    (fault,) = faults_of(
        f"[[sources]]\nid = 'a'\ninclude = ['x']\ntime_pattern = {{ regex = '(?P<time>x)', format = '{notation}' }}\n"
    )
    assert fault.startswith("f.toml: sources[0].time_pattern: the time format ")


def test_prices_that_are_no_sum_or_have_no_day_are_refused():
    names = ("input_usd", "cached_usd", "output_usd", "batch_input_usd", "batch_cached_usd", "batch_output_usd")
    text = "[prices]\n" + "".join(f"{name} = inf\n" for name in names) + "as_of = '2026-99-99'\n"
    *sums, day = faults_of(text)
    assert [f"f.toml: prices.{name}: is a finite number, not inf" for name in names] == sums
    assert 'f.toml: prices.as_of: is a day, such as "2026-11-22"' == day


def test_home_directories_are_written_out_in_paths_and_globs(monkeypatch):
    monkeypatch.setenv("HOME", "/home/operator")
    loaded = config.parse(
        {"state_dir": "~/state", "sources": [{"id": "a", "include": ["~/log/*.log", "/x"]}]}, origin="f"
    )
    assert "/home/operator/state" == str(loaded.state_dir)
    assert ("/home/operator/log/*.log", "/x") == loaded.sources[0].include


def test_file_that_begins_with_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "f.toml").write_bytes(b'\xef\xbb\xbf[window]\nlength = "1d"\n')
    assert "1d" == config.load(tmp_path / "f.toml").window.length


@pytest.mark.parametrize(
    ("content", "fault"),
    [(None, "cannot be read: No such file or directory"), (b"name = '\xff'", "is not UTF-8 at byte 8")],
)
def test_task_file_that_cannot_be_read_is_named_once_and_in_words(tmp_path, content, fault):
    path = tmp_path / "enricher.toml"
    path.write_text('[task]\nfile = "mine.toml"\n')
    if content is not None:
        (tmp_path / "mine.toml").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_task(config.load(path), path)
    assert [f"task.file: {tmp_path / 'mine.toml'}: {fault}"] == caught.value.faults
