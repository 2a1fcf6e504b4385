"""A systemd of a test's own: PID 1 of new namespaces, with journald and the units that it is given, and nothing else.

What is written to /etc, /var or /opt there lies in memory and is gone with it; the only network is its own loopback. It
needs root, the namespaces, overlayfs and a cgroup2 hierarchy: `PrivateSystemd` says what is missing where one is.
Not there: cgroup controllers (`MemoryMax` holds nothing), D-Bus, and whatever units the machine itself has.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

SYSTEMD = Path("/lib/systemd/systemd")
UNIT_SOURCE = Path("/lib/systemd/system")
CGROUPS = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
PROGRAMS = "/usr/sbin:/usr/bin:/sbin:/bin"
BOOT_SECONDS = 20.0
TARGET = "private.target"
OURS = ("etc", "var", "opt", "root", "home", "srv")
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
UNITS = (
    "systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket", "sysinit.target",
    "basic.target", "sockets.target", "paths.target", "timers.target", "slices.target", "local-fs.target",
    "network.target", "network-online.target", "time-sync.target", "multi-user.target", "shutdown.target",
    "umount.target", "final.target", "exit.target", "systemd-exit.service",
)  # fmt: skip
_SIOCSIFFLAGS = 0x8914
_UP_AND_RUNNING = 0x1 | 0x40


class NotPossibleError(Exception):
    """This machine cannot have one; says why."""


class PrivateSystemd:
    """Boots; `units` holds unit files, `binds` says which directories of ours lie where under /opt."""

    def __init__(self, scratch: Path, *, units: Path, binds: dict[str, Path]):
        self._root = scratch / "systemd"
        self._root.mkdir()
        self._console = self._root / "console"
        self._cgroup = _cgroup()
        self._init = 0
        self._check()
        shutil.copytree(units, self._root / "units")
        for name in UNITS:
            if not (self._root / "units" / name).exists():
                shutil.copy(UNIT_SOURCE / name, self._root / "units")
        journald = " ".join(name for name in UNITS if name.startswith("systemd-journald"))
        (self._root / "units" / TARGET).write_text(f"[Unit]\nDefaultDependencies=no\nWants={journald}\n")
        pairs = [f"{source}={name}" for name, source in binds.items()]
        namespaces = ("--mount", "--propagation=private", "--pid", "--uts", "--ipc", "--cgroup", "--net")
        inside = (sys.executable, "-I", __file__, str(self._root), str(self._cgroup), *pairs)
        # A cgroup of its own, else it would take over those of the machine.
        entered = ("sh", "-c", 'echo $$ > "$1" && shift && exec "$@"', "sh", str(self._cgroup / "cgroup.procs"))
        with self._console.open("wb") as console:
            self._outer = subprocess.Popen(
                [*entered, "unshare", *namespaces, "--fork", "--kill-child", *inside],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        try:
            self._wait()
        except BaseException:
            self.end()
            raise

    def run(self, *command: str, code: int | None = 0, seconds: float = 60.0) -> str:
        """Run a command inside; what it printed. Fails if it does not end with `code`."""
        done = subprocess.run(
            self._inside(command),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert code is None or done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def shown(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).strip()

    def until(self, condition, *, seconds: float = 60.0):
        """Wait for a condition inside; its value."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline, f"not within {seconds} s\n{self.journal()[-4000:]}"
            select_nothing(0.05)
        return value

    def journal(self) -> str:
        """What everybody inside logged."""
        return self.run("journalctl", "--no-pager", "--output=cat", code=None)

    def write(self, path: str, text: str) -> None:
        """Write a file inside."""
        subprocess.run(
            self._inside(("sh", "-c", 'mkdir -p "$(dirname "$1")" && cat > "$1"', "sh", path)),
            input=text, text=True, check=True, timeout=20,
        )  # fmt: skip

    def end(self) -> None:
        """End all that runs inside, and leave nothing behind."""
        self._outer.kill()
        self._outer.wait()
        deadline = time.monotonic() + 10
        while "populated 1" in _events(self._cgroup) and time.monotonic() < deadline:
            select_nothing(0.05)
        for directory, _, _ in os.walk(self._cgroup, topdown=False):
            Path(directory).rmdir()

    def _check(self) -> None:
        if os.geteuid() != 0:
            raise NotPossibleError("only root may boot a systemd")
        missing = [name for name in ("unshare", "nsenter", "mount") if shutil.which(name) is None]
        missing += [str(path) for path in (SYSTEMD, *(UNIT_SOURCE / name for name in UNITS)) if not path.exists()]
        if missing:
            raise NotPossibleError(f"not installed: {', '.join(missing)}")
        try:
            self._cgroup.mkdir()
        except OSError as error:
            raise NotPossibleError(f"no cgroup can be made: {error}") from None

    def _wait(self) -> None:
        deadline = time.monotonic() + BOOT_SECONDS
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children")
        while time.monotonic() < deadline:
            if self._outer.poll() is not None:
                self._give_up()
            self._init = _first_child(children)
            if self._init:
                state = self.run("systemctl", "is-system-running", code=None).strip()
                if state in {"running", "degraded"}:
                    return
            select_nothing(0.05)
        self._give_up()

    def _give_up(self) -> None:
        said = self._console.read_text(errors="replace")[-2000:]
        self._outer.kill()
        self._outer.wait()
        raise NotPossibleError(f"it did not boot: {said}")

    def _inside(self, command: tuple[str, ...]) -> list[str]:
        spaces = ("--mount", "--pid", "--uts", "--ipc", "--cgroup", "--net")
        environment = (f"PATH={PROGRAMS}", "SYSTEMD_COLORS=0", "SYSTEMD_PAGER=", "LANG=C.UTF-8")
        return ["nsenter", f"--target={self._init}", *spaces, "--", "env", "-i", *environment, *command]


def select_nothing(seconds: float) -> None:
    """Wait for nothing but time: there is no descriptor that tells what a systemd has done."""
    signal.sigtimedwait([], seconds)


def _cgroup() -> Path:
    parent = next((path for path in CGROUPS if (path / "cgroup.procs").exists()), CGROUPS[-1])
    return parent / f"private-systemd.{os.getpid()}.{time.monotonic_ns()}"


def _first_child(children: Path) -> int:
    """The systemd that a process has become the parent of; 0 as long as it is none."""
    try:
        first = int((children.read_text().split() or ["0"])[0])
        return first if first and Path(f"/proc/{first}/comm").read_text().strip() == "systemd" else 0
    except OSError:
        return 0


def _events(cgroup: Path) -> str:
    try:
        return (cgroup / "cgroup.events").read_text()
    except OSError:
        return ""


# ---------------------------------------------------------------- from here on in the namespaces


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def _become(root: Path, binds: list[str]) -> None:
    memory = Path("/mnt")
    _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(memory))
    shutil.copytree(root / "units", memory / "units")
    _cover(memory, binds)
    _mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", "/tmp")
    _devices(memory / "dev")
    _mount("-t", "proc", "proc", "/proc")
    subprocess.run(["umount", "-R", "/sys/fs/cgroup"], check=True)
    _mount("-t", "cgroup2", "cgroup2", "/sys/fs/cgroup")
    _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    _mount("--make-rshared", "/")  # else the directories of credentials stay empty
    Path("/etc/machine-id").unlink(missing_ok=True)
    Path("/etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    Path("/etc/fstab").write_text("")
    for left in ("/var/log/journal", "/var/lib/enricher"):  # by what ran on the machine itself
        shutil.rmtree(left, ignore_errors=True)
    _loopback()
    environment = {
        "PATH": PROGRAMS,
        "container": "private",
        "SYSTEMD_UNIT_PATH": str(memory / "units"),  # else the units of the machine would act on it
        "SYSTEMD_GENERATOR_PATH": "/nonexistent",
        "SYSTEMD_LOG_TARGET": "journal",
    }
    os.execve(SYSTEMD, [str(SYSTEMD), "--system", f"--unit={TARGET}"], environment)


def _cover(memory: Path, binds: list[str]) -> None:
    """Lay memory over what will be written to, and what is ours under /opt."""
    for name in OURS:
        upper, work = memory / "upper" / name, memory / "work" / name
        upper.mkdir(parents=True, mode=0o755)
        work.mkdir(parents=True)
        layers = f"lowerdir=/{name},upperdir={upper},workdir={work}"
        bound = [pair.rpartition("=") for pair in binds] if name == "opt" else []
        _mount("-t", "overlay", "overlay", "-o", layers, f"/{name}")
        for _, _, place in bound:
            Path("/opt", place).mkdir(parents=True)
    for pair in binds:
        source, _, place = pair.rpartition("=")
        _mount("--bind", source, f"/opt/{place}")


def _devices(directory: Path) -> None:
    directory.mkdir()
    _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(directory))
    for name in DEVICES:
        (directory / name).touch()
        _mount("--bind", f"/dev/{name}", str(directory / name))
    for name in ("pts", "shm", "mqueue"):
        (directory / name).mkdir()
    _mount("-t", "devpts", "-o", "newinstance,ptmxmode=0666,mode=620", "devpts", str(directory / "pts"))
    _mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", str(directory / "shm"))
    links = {"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
    for name, target in links.items():
        (directory / name).symlink_to(target)
    _mount("--rbind", str(directory), "/dev")


def _loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        fcntl.ioctl(one, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _UP_AND_RUNNING))


if __name__ == "__main__":
    _become(Path(sys.argv[1]), sys.argv[3:])
