"""Bad input: each is named with a way out, ends with the right exit code, and costs no other event."""

from __future__ import annotations

import http.server
import os
import shutil
import subprocess
import threading
from collections import Counter

import pytest

from tests.system.bench import KINDS, Bench, assert_manifests_true, events, log_lines

GOOD = 80
LONG_LINE_BYTES = 100_000_000
KEPT_BYTES = 256 * 1024


@pytest.fixture(scope="module")
def odd(tmp_path_factory, server):
    """One run over a directory of everything that is not a log, and a good one."""
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("root without setpriv can read everything")
    bench = Bench(tmp_path_factory.mktemp("odd"), server.url)
    bench.write("good.log", log_lines(GOOD, hours=1))
    bench.write("binary.log", [bytes(range(256)) * 64])
    bench.write("empty.log", [])
    (bench.logs / "directory.log").mkdir()
    (bench.logs / "gone.log").symlink_to(bench.root / "nowhere")
    os.mkfifo(bench.logs / "pipe.log")
    bench.write("latin.log", [b"2026-11-20T08:00:00Z INFO caf\xe9: table \xff\xfe reserved"])
    text = b"2026-11-20T08:00:00Z INFO pump: running smoothly\n" * 40
    (bench.logs / "nul.log").write_bytes(text + b"2026-11-20T08:00:01Z WARN pump: pres\x00\x00sure low\n")
    bench.write("secret.log", ["2026-11-20T08:00:00Z INFO nobody sees this"]).chmod(0)
    # Root may read everything, unless it gives that up.
    given_up = "-dac_override,-dac_read_search"
    bench.ended = bench.enricher(
        "once", prefix=("setpriv", "--bounding-set", given_up, "--inh-caps", given_up) if os.geteuid() == 0 else ()
    )
    yield bench
    bench.end()


def of(bench, name):
    return [event for event in events(bench.out) if event["log.file.path"].endswith(f"/{name}")]


def skipped(bench):
    return {one["path"].rpartition("/")[2]: one for one in bench.ended.happened("file_skipped")}


def test_other_files_cost_a_good_one_nothing(odd):
    assert GOOD == len(of(odd, "good.log"))
    assert_manifests_true(odd.out)


@pytest.mark.parametrize(
    ("name", "reason", "hint"),
    [
        ("binary.log", "binary", "exclude it"),
        ("secret.log", "unreadable", "group"),
        ("pipe.log", "not_regular", "exclude"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_a_way_out(odd, name, reason, hint):
    told = skipped(odd)[name]

    assert reason == told["reason"]
    assert hint in told["hint"]
    assert [] == of(odd, name)


def test_an_empty_file_and_a_directory_with_a_logs_name_are_nothing_to_speak_of(odd):
    assert [] == of(odd, "empty.log")
    assert "empty.log" not in skipped(odd)
    assert (
        {"binary.log", "secret.log", "pipe.log"}
        <= set(skipped(odd))
        <= {"binary.log", "secret.log", "pipe.log", "gone.log"}
    )


def test_bytes_that_are_no_utf_8_are_shown_and_lose_nothing(odd):
    [event] = of(odd, "latin.log")

    assert event["message"].startswith("2026-11-20T08:00:00Z INFO caf")
    assert event["message"].endswith(" reserved")
    assert "table" in event["message"]


def test_nul_bytes_in_a_log_lose_no_line(odd):
    found = of(odd, "nul.log")

    assert 41 == len(found)
    assert "pres" in found[-1]["message"]
    assert "sure low" in found[-1]["message"]


def test_a_line_of_100_mb_is_cut_counted_and_costs_no_memory(bench):
    path = bench.logs / "long.log"
    with path.open("wb") as file:
        file.write(b"2026-11-20T08:00:00Z INFO before\n2026-11-20T08:00:01Z ERROR dump: ")
        for _ in range(LONG_LINE_BYTES // 1_000_000):
            file.write(b"x" * 1_000_000)
        file.write(b"\n2026-11-20T08:00:02Z INFO after\n")
    length = path.stat().st_size - len(b"2026-11-20T08:00:00Z INFO before\n" + b"\n2026-11-20T08:00:02Z INFO after\n")

    ended = bench.enricher("once")

    before, cut, after = events(bench.out)
    assert ("2026-11-20T08:00:00Z INFO before", "2026-11-20T08:00:02Z INFO after") == (
        before["message"],
        after["message"],
    )
    assert KEPT_BYTES == len(cut["message"])
    assert length - KEPT_BYTES == bench.status()["lines"]["lost_bytes"]
    [told] = ended.happened("line_cut")
    assert (str(path), length - KEPT_BYTES) == (told["path"], told["lost_bytes"])
    assert ended.max_rss_bytes < 400_000_000


def test_a_file_that_vanishes_while_others_are_read_costs_them_nothing(bench):
    for name in ("a.log", "m.log"):
        bench.write(name, log_lines(20_000, hours=1))
    bench.write("z.log", log_lines(8, hours=1))

    running = bench.start("once")
    running.until(lambda: running.happened("file_found"))
    (bench.logs / "z.log").unlink()

    assert 0 == running.wait().code
    assert "Traceback" not in running.err
    written = Counter(event["log.file.path"].rpartition("/")[2] for event in events(bench.out))
    assert (20_000, 20_000) == (written["a.log"], written["m.log"])
    assert written["z.log"] in {0, 8}
    status = bench.status()["events"]
    assert status["read"] == status["written"] == written.total()


def test_a_missing_path_is_named(bench):
    ended = bench.enricher("once", bench.root / "missing", code=64)

    assert f"{bench.root}/missing: there is no such file or directory" in ended.err


def test_a_configured_directory_that_is_missing_is_pointed_out_by_validate(bench):
    bench.configure(sources=[{"id": "logs", "include": [str(bench.root / "missing")]}])

    ended = bench.enricher("validate", "--offline")

    assert "note   source logs: 0 files" in ended.out
    assert "no file matches" in ended.out
    bench.enricher("once")


def test_all_faults_of_a_configuration_are_told_at_once(bench):
    bench.configure(window={"length": 3}, batch={"max_requests": "many"}, budget={"daily_eur": 5})

    refused = [bench.start(command) for command in ("once", "run", "validate", "plan", "status")]
    for one in refused:
        ended = bench.finish(one, code=78)
        for fault in ("window.length: ", "batch.max_requests: ", "budget.daily_eur: there is no such option"):
            assert f"{bench.file}: {fault}" in ended.err
        assert "enricher.toml" in ended.err
    assert not (bench.root / "state").exists()


def test_patterns_that_could_take_for_ever_are_refused_with_the_option_and_the_way_out(bench):
    slow = {
        "drop": {"drop": ["fine", "(a+)+$"]},
        "multiline": {"multiline": {"start": r"(\w*)*x"}},
        "time_pattern.regex": {"time_pattern": {"regex": "(?P<time>(.*)*)!", "format": "%H"}},
    }
    bench.write("a.log", ["a" * 5000])
    for option, change in slow.items():
        bench.configure(sources=[{"id": "logs", "include": [str(bench.logs)], **change}])
        said = bench.enricher("once", code=78).err
        assert f"sources[0].{option}" in said
        assert "could take for ever on some lines" in said
        assert "(?>...)" in said
    assert not (bench.root / "state").exists()


def test_a_configuration_that_is_no_toml_or_not_there_is_named(bench):
    bench.file.write_text("state_dir = [\n")
    assert f"{bench.file}: not TOML: " in bench.enricher("validate", code=78).err

    bench.file.unlink()
    assert f"{bench.file}: there is no such file" in bench.enricher("validate", code=78).err


def test_a_refused_key_is_told_and_with_the_right_one_the_run_goes_on(bench, serve):
    server = serve(key="sk-right")
    bench.url = server.url
    bench.configure()
    bench.write("a.log", log_lines(GOOD, hours=1))

    refused = bench.enricher("once", code=78, OPENAI_API_KEY="sk-wrong")

    assert f"{server.url} answered 401" in refused.err
    assert "check OPENAI_API_KEY or the credential openai-api-key" in refused.err
    assert "sk-wrong" not in refused.err.replace("answered", "")
    assert "FAULT  provider: " in bench.enricher("validate", code=78, OPENAI_API_KEY="sk-wrong").out
    bench.enricher("once", OPENAI_API_KEY="sk-right")
    assert GOOD == len(events(bench.out))
    assert len(KINDS) == server.lines_uploaded()


def test_a_page_in_place_of_the_api_ends_the_run_with_what_to_look_at_and_nothing_is_lost(bench, server):
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(b"<html>please log in")

        do_POST = do_GET  # noqa: N815 - the names that the standard library looks for

        def log_message(self, *_args):
            pass

    bench.write("a.log", log_lines(GOOD, hours=1))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as page:
        threading.Thread(target=page.serve_forever, daemon=True).start()
        bench.url = f"http://127.0.0.1:{page.server_port}/v1"
        bench.configure()
        refused = bench.enricher("once", code=78)
        page.shutdown()

    assert f"error: {bench.url} did not answer as the Batch API does" in refused.err
    assert "is base_url right, with its /v1" in refused.err
    bench.url = server.url
    bench.configure()
    bench.enricher("once")
    assert GOOD == len(events(bench.out))


def test_a_run_says_what_it_left_unasked(bench):
    prices = dict.fromkeys(
        ("input_usd", "cached_usd", "output_usd", "batch_input_usd", "batch_cached_usd", "batch_output_usd"), 1.0
    )
    bench.configure(prices=prices | {"as_of": "2026-11-22"}, budget={"daily_usd": 0.0})
    bench.write("a.log", log_lines(GOOD, hours=1))
    ended = bench.enricher("once")
    assert f"{len(KINDS)} requests were not sent (skipped_budget): see [budget] and enricher status" in ended.out
    assert "today $0 of $0, this month $0 of $100.00" in bench.enricher("status").out


def test_a_model_that_is_not_known_is_told_and_the_run_goes_on_when_it_is(bench, serve):
    faults = [
        {"on": "batch", "what": "fail", "code": "model_not_found", "message": "The model 'schema' does not exist"}
    ]
    server = serve(faults=faults)
    bench.url = server.url
    bench.configure()
    bench.write("a.log", log_lines(GOOD, hours=1))

    refused = bench.enricher("once", code=78)

    assert "The model 'schema' does not exist" in refused.err
    assert "set [provider] model" in refused.err
    bench.enricher("once")
    assert GOOD == len(events(bench.out))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB, and how to make it larger."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting needs root")
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], capture_output=True, check=False
    ).returncode:
        pytest.skip("mounting is not allowed here")

    def enlarge():
        subprocess.run(["mount", "-o", "remount,size=64m", place], check=True)

    yield place, enlarge
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_full_disk_below_a_sink_is_told_and_waited_for(bench, small_disk):
    disk, enlarge = small_disk
    bench.configure(sinks=[{"id": "files", "directory": str(disk / "out")}])
    bench.write("a.log", log_lines(6000, hours=2))

    running = bench.start("once")
    told = running.until(lambda: running.happened("sink_failed"))
    enlarge()

    assert 0 == running.wait().code
    assert "No space left on device" in told[0]["error"]
    assert str(disk / "out") in told[0]["error"]
    assert "make room" in told[0]["hint"]
    assert 6000 == len(events(disk / "out"))
    assert_manifests_true(disk / "out")


def test_a_full_disk_below_the_state_ends_the_run_and_loses_nothing(bench, small_disk):
    disk, enlarge = small_disk
    (bench.root / "state").symlink_to(disk / "state")
    (disk / "state").mkdir()
    (disk / "filler").write_bytes(b"x" * 1_500_000)
    # Nothing that compresses well.
    lines = [f"2026-11-20T08:{n // 60 % 60:02d}:{n % 60:02d}Z INFO blob: {os.urandom(400).hex()}" for n in range(2000)]
    bench.write("a.log", lines)

    ended = bench.enricher("once", code=75)

    assert "error: " in ended.err
    assert str(bench.root / "state") in ended.err
    assert "full" in ended.err or "No space left" in ended.err
    assert "  try: " in ended.err
    enlarge()
    bench.enricher("once")
    assert 2000 == len(events(bench.out))
    assert_manifests_true(bench.out)
