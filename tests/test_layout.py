"""The shape of the code: imports, sizes, names, and what the README says of them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "enricher"
MODULES = sorted(PACKAGE.rglob("*.py"))
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 62
FORBIDDEN_NAMES = {"utils", "helpers", "common", "manager", "base", "misc", "core_utils"}


def test_imports_follow_the_path_of_the_data():
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_says_what_it_is_for_and_stays_readable(path):
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    if text.strip():
        assert ast.get_docstring(tree), "no module docstring"
    # Two modules are data: lists that were published elsewhere.
    if path.name not in {"ecs.py", "attack.py"}:
        assert len(text.splitlines()) <= MAX_FILE_LINES
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < MAX_FUNCTION_LINES, node.name
    assert path.stem not in FORBIDDEN_NAMES


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_pattern_repeats_a_group_possessively(path):
    """Before Python 3.11.5, as in Debian 12, `(?:a|b)*+` matches wrongly; `(?>(?:a|b)*)` is the same and does not."""
    # Prose about it has the dots of an ellipsis; a group's end that is itself in brackets or escaped is a character.
    found = re.findall(r"""^.*(?<![\\\[…])\)(?:[*+?]|\{[0-9,]*\})\+.*$""", path.read_text(), re.MULTILINE)
    assert [] == [line for line in found if re.search(r"""\br?b?r?f?r?["']""", line)]


def test_alphabetical_order_of_the_stages_is_the_order_of_the_data():
    stages = sorted(path.stem for path in (PACKAGE / "stages").iterdir() if not path.name.startswith("_"))
    assert stages == ["ingest", "plan", "submit", "track", "write"]
    for text in ((PACKAGE / "__init__.py").read_text(), (ROOT / "README.md").read_text()):
        found = [text.index(f"stages/{stage}") for stage in stages]
        assert found == sorted(found)


def test_readme_names_every_metric_and_no_other():
    from prometheus_client import CollectorRegistry, generate_latest

    from enricher.telemetry import Telemetry

    telemetry = Telemetry(CollectorRegistry())
    telemetry.initialise(sources=["s"], sinks=["f"])
    served = set(re.findall(r"^# TYPE (enricher_\w+) ", generate_latest(telemetry.registry).decode(), re.MULTILINE))
    served = {name for name in served if not name.endswith("_created")}
    documented = set(re.findall(r"`(enricher_\w+)[`{]", (ROOT / "README.md").read_text()))
    assert documented == served


def test_readme_lists_every_command():
    from typer.main import get_command

    from enricher.cli import cli

    text = (ROOT / "README.md").read_text()
    for name in get_command(cli).commands:
        assert f"`enricher {name}" in text, name


def test_printing_the_version_loads_nothing_that_only_a_job_needs():
    code = "import sys, enricher.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    late = {"openai", "aiohttp", "httpx2", "aiofiles", "sqlite3", "structlog", "prometheus_client", "enricher.app"}
    assert set() == late & set(done.stdout.split())


def test_no_path_of_the_building_machine_is_in_the_tree():
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    for name in tracked.stdout.decode().split("\0"):
        path = ROOT / name
        if path.is_file() and path.suffix in {".py", ".toml", ".md", ".service", ".conf", ""}:
            assert str(Path.home().resolve()) + "/" not in path.read_text(encoding="utf-8", errors="replace"), name
