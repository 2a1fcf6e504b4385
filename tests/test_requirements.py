"""What `make demo` and `make test` install is pinned, hashed, and what pyproject.toml asks for."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
LOCKS = ROOT / ".ci" / "requirements"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ASKED = {
    "build": [*PROJECT["dependency-groups"]["build"], *PROJECT["build-system"]["requires"]],
    "demo": [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["local"]],
    "test": [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]],
    "bench": PROJECT["dependency-groups"]["bench"],
    "fuzz": PROJECT["dependency-groups"]["fuzz"],
    "peers": PROJECT["dependency-groups"]["peers"],
    "rivals": PROJECT["dependency-groups"]["rivals"],
    "airflow": [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["airflow"]],
    "dagster": [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dagster"]],
}
ALONE = {"peers", "rivals", "airflow", "dagster"}
"""Which have an environment of their own."""
# The machines on which the two commands are to work.
MACHINES = [(python, machine) for python in ("3.11", "3.12", "3.13") for machine in ("x86_64", "aarch64")]


def _pins(name: str) -> dict[str, list[tuple[Requirement, list[str]]]]:
    """The pins of a lock file by package, each with its hashes."""
    pins: dict[str, list[tuple[Requirement, list[str]]]] = {}
    text = re.sub(r"\s*#.*", "", (LOCKS / f"{name}.txt").read_text(encoding="utf-8"))
    for line in filter(None, text.replace("\\\n", " ").splitlines()):
        head, *hashes = re.split(r"\s+--hash=", line.strip())
        requirement = Requirement(head)
        pins.setdefault(requirement.name, []).append((requirement, hashes))
    return pins


@pytest.mark.parametrize("name", ASKED)
def test_every_pin_is_one_version_with_hashes_and_names_no_index(name):
    assert sorted(path.stem for path in LOCKS.iterdir()) == sorted(ASKED)
    assert "://" not in (LOCKS / f"{name}.txt").read_text(encoding="utf-8")
    for pins in _pins(name).values():
        for requirement, hashes in pins:
            assert re.fullmatch(r"==[^,*]+", str(requirement.specifier)), requirement
            assert hashes, requirement
            assert all(re.fullmatch("sha256:[0-9a-f]{64}", item) for item in hashes), requirement


@pytest.mark.parametrize("name", ASKED)
def test_lock_has_what_the_project_asks_for_on_every_machine(name):
    """Red after a change of pyproject.toml: `make lock` mends it."""
    pins = _pins(name)
    for python, machine in MACHINES:
        where = {
            **default_environment(),
            "python_version": python,
            "python_full_version": f"{python}.0",
            "platform_machine": machine,
        }
        for asked in map(Requirement, ASKED[name]):
            if asked.marker is not None and not asked.marker.evaluate(where):
                continue
            found = [pin for pin, _ in pins[asked.name] if pin.marker is None or pin.marker.evaluate(where)]
            assert len(found) == 1, (asked, python, machine)
            assert asked.specifier.contains(str(found[0].specifier).removeprefix("==")), asked


def test_locks_agree_so_that_all_of_them_fit_into_one_environment():
    seen: dict[str, set[str]] = {}
    for lock in ASKED.keys() - ALONE:
        for name, pins in _pins(lock).items():
            versions = {f"{pin.specifier} {pin.marker}" for pin, _ in pins}
            assert seen.setdefault(name, versions) == versions, (lock, name)


def test_what_has_an_environment_of_its_own_is_not_held_to_the_pins_of_ours():
    """Red where `make lock` could find no solution although everything that is installed together fits together."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    held = dict(re.findall(r"\$\(COMPILE\)(.*) -o \$\(LOCKS\)/(\w+)\.txt", makefile))
    assert sorted(ASKED) == sorted(held.values())
    assert ALONE.isdisjoint(name for asked, name in held.items() if " -c " in asked)


def test_make_installs_from_the_locks_and_checks_the_hashes():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    installs = [
        line
        for line in makefile.splitlines()
        if re.search(r"pip (--python \S+ )?install|\$\((INSTALL|LOCKED|call LOCKED_IN,[^)]+)\)", line)
    ]
    assert [line.strip() for line in installs] == [
        "INSTALL := $(BIN)/pip install -qq --disable-pip-version-check",
        "LOCKED := $(INSTALL) --no-deps --require-hashes -r $(LOCKS)",
        "LOCKED_IN = $(subst /pip ,/pip --python $(VENV)/$(1) ,$(LOCKED))",
        "@$(LOCKED)/build.txt",
        "@$(INSTALL) --no-deps --no-build-isolation -e .",
        "@$(LOCKED)/demo.txt",
        "@$(LOCKED)/test.txt",
        "@$(LOCKED)/bench.txt",
        "@$(LOCKED)/fuzz.txt",
        "@$(call LOCKED_IN,peers)/peers.txt",
        "@$(call LOCKED_IN,pipelines/$*)/$*.txt",
        "@$(call LOCKED_IN,rivals)/rivals.txt \\",
        "@$(INSTALL) uv",
    ]


def test_packages_of_npm_have_hashes_too_and_name_no_registry():
    home = ROOT / "tests" / "conformance"
    asked = json.loads((home / "package.json").read_text(encoding="utf-8"))["dependencies"]
    packages = json.loads((home / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    assert asked == packages.pop("")["dependencies"]
    assert set(asked) <= {name.removeprefix("node_modules/") for name in packages}
    for name, told in packages.items():
        assert told["integrity"].startswith("sha512-"), name
        assert "resolved" not in told, name
