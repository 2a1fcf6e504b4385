"""Lines of ten made-up systems, each with the known template of every line: what signatures are tried on.

The headers have the layouts that are common in the field (fixed columns without punctuation, bars, a program before a
dash, syslog behind an epoch column, thread and class); the messages and the values are invented here. The lines are a
function of the seed alone.
"""

# ruff: noqa: E501, SIM905 - a message is one line, and lists of quoted words would not be readable

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

LINES: Final = 1_000
_SEED: Final = 20_261_122


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """Raw lines, the message of each without its header, and the template that each was made from."""

    lines: tuple[bytes, ...]
    messages: tuple[bytes, ...]
    templates: tuple[str, ...]


_USERS = "root alice bob carol deploy backup svc-mail jenkins guest oracle postgres mallory trent".split()
_NODES = "R{a}-M{b}-N{c}-C:J{d}-U{e}"
_FRUIT = "apple banana cherry damson elder fig grape hazel iris juniper kiwi lemon mango nutmeg olive pear".split()
_CLASSES = "OrderPanel MainScreen LoginDialog CartView SearchBox MapLayer PhotoStrip NoteEditor ChatRoom".split()
_HOSTS = "cache.shop.example.org db.shop.example.org cdn.images.example.net api.pay.example.com".split()
_EXES = ("browser.exe", "sync.exe *64", "mail.exe", "Updater.exe", "chat.exe *64")


def _fill(kind: str, rng: random.Random) -> str:
    number = rng.randrange(1, 10 ** rng.randrange(1, 7))
    match kind:
        case "int":
            return str(number)
        case "hex":
            return f"0x{rng.getrandbits(rng.choice((8, 32, 44))):x}"
        case "id":
            return f"{rng.getrandbits(28):07x}"
        case "ip":
            return ".".join(str(rng.randrange(1, 255)) for _ in range(4))
        case "mac":
            return ":".join(f"{rng.getrandbits(8):02x}" for _ in range(6))
        case "uuid":
            text = f"{rng.getrandbits(128):032x}"
            return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
        case "node":
            return _node(rng)
        case "path":
            return "/" + "/".join(rng.sample(_FRUIT, rng.randrange(1, 5))) + rng.choice(("", ".log", ".so", "/"))
        case "target":
            return _target(rng)
        case "size":
            return rng.choice((f"{number} bytes", f"{number} bytes", f"{number} bytes ({number / 1024:.2f} KB)"))
        case "life":
            return rng.choice(("<1 sec", f"{number % 60:02}:{number % 59:02}"))
        case "float":
            return f"{rng.random() * 100:.4f}"
        case "bool":
            return rng.choice(("true", "false"))
        case "blocks":
            return " ".join(f"blk_{rng.getrandbits(50)}" for _ in range(rng.randrange(1, 40)))
        case "work":
            return rng.choice(("null", f"WorkSet{{{number}}}"))
        case "users":
            return rng.choice(_USERS)
        case "host":
            return rng.choice(_HOSTS)
        case "class":
            return rng.choice(_CLASSES)
        case "label":
            return " ".join(rng.sample(_FRUIT, rng.randrange(1, 3)))
        case "package":
            return f"org.{rng.choice(_FRUIT)}.{rng.choice(_FRUIT)}"
        case _:
            return rng.choice(_FRUIT)


def _node(rng: random.Random) -> str:
    return _NODES.format(
        a=f"{rng.randrange(64):02}",
        b=rng.randrange(2),
        c=rng.choice("0123456789ABCDEF"),
        d=f"{rng.randrange(18):02}",
        e=f"{rng.randrange(2, 12):02}",
    )


def _target(rng: random.Random) -> str:
    path = "/".join(rng.sample(_FRUIT, rng.randrange(1, 4)))
    query = rng.choice(("", "", f"?{rng.choice(_FRUIT)}={rng.choice(_FRUIT)}&page={rng.randrange(9)}"))
    return rng.choice(("/", f"/v2/{rng.getrandbits(128):032x}/{path}{query}", f"/{path}{query}", f"/{path}/"))


_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moment:
    """One time in several spellings."""

    rng: random.Random
    step: int

    @property
    def clock(self) -> str:
        seconds = 36_000 + 3 * self.step
        return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"

    @property
    def millis(self) -> str:
        return f"{self.rng.randrange(1000):03}"


def _supercomputer(at: _Moment, level: str, program: str) -> str:
    flag = at.rng.choice(("-", "-", "-", "-", "HWFAIL"))
    node = at.rng.choice((_node(at.rng), _node(at.rng), _node(at.rng), "NULL", "UNKNOWN_PLACE"))
    stamp = f"2005-06-03-{at.clock.replace(':', '.')}.{at.millis}872"
    return f"{flag} {1117838570 + at.step} 2005.06.03 {node} {stamp} {node} EVT {program} {level} "


def _cluster(at: _Moment, level: str, program: str) -> str:
    node = at.rng.choice(
        (f"node-{at.rng.randrange(256)}", f"node-D{at.rng.randrange(7)}", f"gige{at.rng.randrange(9)}")
    )
    return f"{at.rng.randrange(1, 400_000)} {node} {program} {level} {1077804742 + at.step} 1 "


def _phone(at: _Moment, level: str, program: str) -> str:
    return f"03-17 {at.clock}.{at.millis} {at.rng.randrange(90, 30000):5} {at.rng.randrange(90, 30000):5} {level} {program}: "


def _servicing(at: _Moment, level: str, program: str) -> str:
    return f"2016-09-28 {at.clock}, {level:<22}{program:<7}"


def _watch(at: _Moment, level: str, program: str) -> str:
    return f"20171223-{at.clock}:{at.rng.randrange(1000)}|{program}|{level}|"


def _proxy(at: _Moment, level: str, program: str) -> str:
    return f"[10.30 {at.clock}] {at.rng.choice(_EXES)} - "


def _desktop(at: _Moment, level: str, program: str) -> str:
    host = at.rng.choice(("studio-mac", f"visitor-10-105-{at.rng.randrange(255)}-95"))
    detail = at.rng.choice(("", "", "", f" (org.{at.rng.choice(_FRUIT)}.agent[{at.rng.randrange(9000)}])"))
    return f"Jul {at.step % 9 + 1:2} {at.clock} {host} {program}[{at.rng.randrange(9000)}]{detail}: "


def _cloud(at: _Moment, level: str, program: str) -> str:
    request = _fill("uuid", at.rng)
    ids = at.rng.choice(("- - -", f"{at.rng.getrandbits(128):032x} {at.rng.getrandbits(128):032x} - - -"))
    file = f"{program.partition('.')[0]}-api.log.1.2017-05-16_13:53:08"
    return f"{file} 2017-05-16 {at.clock}.{at.millis} {at.rng.randrange(2000, 30000)} {level} {program} [req-{request} {ids}] "


def _farm(at: _Moment, level: str, program: str) -> str:
    node = at.rng.choice(
        (f"dn{at.rng.randrange(900)}", f"admin{at.rng.randrange(1, 4)}", f"bird-sm{at.rng.randrange(9)}")
    )
    own = at.rng.choice((f"{node}/{node}", f"src@{node}", f"local@{node}", f"#{at.rng.randrange(30)}#"))
    pid = at.rng.choice((f"[{at.rng.randrange(20000)}]", f"[{at.rng.randrange(20000)}]", ""))
    return f"- {1131566461 + at.step} 2005.11.09 {node} Nov 9 {at.clock} {own} {program}{pid}: "


def _jobs(at: _Moment, level: str, program: str) -> str:
    thread = at.rng.choice(
        ("main", f"IPC Server handler {at.rng.randrange(30)} on {at.rng.randrange(60000)}", "Thread-7")
    )
    return f"2015-10-18 {at.clock},{at.millis} {level} [{thread}] {program}: "


# (weight, level, program, template); a word in braces is filled in anew for each line.
_Kinds = tuple[tuple[int, str, str, str], ...]

_SYSTEMS: dict[str, tuple[Callable[[_Moment, str, str], str], _Kinds]] = {
    "supercomputer": (
        _supercomputer,
        (
            (90, "INFO", "KERNEL", "store cache parity fault repaired"),
            (60, "INFO", "KERNEL", "{int} sdr faults(s) found and repaired on rank {int}, symbol {int}, bit {int}"),
            (50, "FATAL", "KERNEL", "page tlb fault interrupt"),
            (40, "INFO", "KERNEL", "writing core.{int}"),
            (30, "FATAL", "APP", "iod: cannot read message head on control stream (socket to {ip}:{int}"),
            (30, "FATAL", "APP", "iod: Error loading {path}: not a valid executable image"),
            (20, "ERROR", "MONITOR", "node card {word} voltage out of range: {float}"),
            (20, "INFO", "DISCOVERY", "Node card status: no alerts are active. Clock Mode is {word}."),
            (10, "WARNING", "HARDWARE", "PrepareForService shutting down Node card (mLctn({node}), mSerial({hex}))"),
            (10, "INFO", "KERNEL", "total of {int} sdr error(s) detected over {int} seconds"),
            (5, "SEVERE", "MONITOR", "power module {int} is not ready"),
            (5, "FATAL", "KERNEL", "rts: bad message header: invalid rank {int} from {node}"),
            (4, "INFO", "KERNEL", "carry flag enable.................{int}"),
            (4, "INFO", "KERNEL", "alternate input trap enable.......{int}"),
            (4, "INFO", "KERNEL", "outer input trap enable...........{int}"),
            (4, "INFO", "KERNEL", "idle phase enable.................{int}"),
            (4, "INFO", "KERNEL", "auxiliary unit present............{int}"),
            (4, "INFO", "KERNEL", "division unit present.............{int}"),
            (4, "INFO", "KERNEL", "debug trap enable.................{int}"),
            (4, "INFO", "KERNEL", "rounding mode exact...............{int}"),
            (4, "INFO", "KERNEL", "underflow trap mask...............{int}"),
            (4, "INFO", "KERNEL", "step trap mask....................{int}"),
            (4, "FATAL", "KERNEL", "rts: kernel stopped for reason {int}"),
            (4, "INFO", "KERNEL", "store fault at address {hex}"),
            (4, "INFO", "KERNEL", "fetch fault at address {hex}"),
            (4, "INFO", "KERNEL", "ring fault at address {hex}"),
        ),
    ),
    "cluster": (
        _cluster,
        (
            (90, "state_change.down", "unix.hw", "Part State Change: Part \\042{word}\\042 is in the lost state (ID={int})"),
            (60, "new", "boot_cmd", "Targeting groups:node-D{int} and nodes:node-[{int}-{int}] child of order {int}"),
            (50, "temperature", "gige", "ambient={int}"),
            (40, "net.niff.down", "unix.hw", "NIF: node node-{int} saw a failed connection on network {ip} via interface ee{int}"),
            (30, "done", "boot_cmd", "Order {int} has completed successfully"),
            (30, "error", "action", "clusterAddMember (order {int}) Error: cannot open {path}"),
            (20, "status", "node", "not responding"),
            (15, "status", "node", "running"),
            (15, "bcast-error", "switch_module", "Link fault on tree Interconnect-{int}N{int}:{int}:{int}"),
            (10, "fan", "node", "Fan speeds ( {int} {int} {int} {int} **** {int} )"),
            (10, "psu", "node", "psu failure\\ ambient={int}"),
            (5, "panic", "unix.hw", "{word} panicked with code {int} at {hex}"),
        ),
    ),
    "phone": (
        _phone,
        (
            (
                70,
                "D",
                "PowerKeeper",
                'acquire hold={int}, flags={hex}, tag="{label}", name={package}, ws={work}, uid={int}, pid={int}',
            ),
            (
                70,
                "D",
                "PowerKeeper",
                'drop hold={int}, flg={hex}, tag="{label}", name={package}, ws={work}, uid={int}, pid={int}',
            ),
            (60, "V", "WindowList", "Skipping WindowToken{{{id} token=Token{{{id} Entry{{{id} u0 {package}/.{class} t{int}}}}}}}"),
            (40, "I", "TaskList", "getProcesses: caller {int} does not hold GET_TASKS; limiting output"),
            (30, "D", "TextPane", "setState overlap:{bool}, padding: {int}, expanded: {bool}, closed: {bool}, dark: {bool}"),
            (30, "D", "WindowList", "app token = Token{{{id}}}, allDrawn= {bool}, shown =  {bool}, moved =  {bool}"),
            (20, "I", "TaskList", "START u0 {{flg={hex} cmp={package}/.{class}}} from uid {int} on display {int}"),
            (20, "D", "Screen", "brightness in = {int} out = {float}"),
            (10, "W", "Views", "View {class} not found in tree of {package}.{class}"),
            (10, "E", "Cards", "cannot bind card {word}, retry {int}"),
            (10, "I", "PhoneRadio", "Setup data call on {word} with reason {word}"),
            (5, "E", "Cards", "card {word} removed while bound"),
            (4, "D", "Shade", "onTouchDown with state {int} and bar {int}"),
            (4, "D", "Shade", "onTouchUp with state {int} and bar {int}"),
            (4, "D", "Shade", "expandShade to height {float}"),
            (4, "D", "Shade", "collapseShade to height {float}"),
            (4, "D", "Audio", "requestFocus from {package} with hint {int}"),
            (4, "D", "Audio", "abandonFocus from {package} with hint {int}"),
            (4, "D", "Audio", "stream music volume {int}"),
            (4, "D", "Audio", "stream alarm volume {int}"),
            (4, "D", "Queue", "enqueue job id {int}"),
            (4, "D", "Queue", "dequeue job id {int}"),
            (4, "D", "Keys", "interceptKey code {int} screen {bool}"),
            (4, "D", "Keys", "dispatchKey code {int} screen {bool}"),
        ),
    ),
    "servicing": (
        _servicing,
        (
            (80, "Info", "CBS", "Loaded Stack v{int}.{int} with Core: C:\\apps\\{word}\\{word}.dll"),
            (60, "Info", "CSI", "{id}@2016/9/27:20:30:31.455 CSI Transaction @{hex} initialized"),
            (50, "Info", "CBS", "SQM: Uploading requested for report: PackageChangeEnd_Package{int}, session id: {int}, type: {word}"),
            (40, "Info", "CBS", "Session: {int}_{int} initialized by client {class}."),
            (30, "Info", "CBS", "Read out cached package applicability for package: Package_{int}~{id}~, state: {int}"),
            (20, "Warning", "CBS", "Unrecognized packageExtended attribute."),
            (20, "Info", "CBS", "Reboot mark is not set"),
            (20, "Info", "CBS", "Ending the {class} finalization."),
            (10, "Error", "CBS", "Failed to open package {class} [HRESULT = {hex} - E_{word}]"),
            (10, "Info", "CBS", "Scavenge: Package store indicates there is no component to scavenge, skipping."),
        ),
    ),
    "watch": (
        _watch,
        (
            (80, "30002312", "Step_LSC", "onStandChanged {int}"),
            (80, "30002312", "Step_LSC", "onExtend:{int} {int} {int} {int}"),
            (60, "30002312", "Step_SPUtils", "getTotals = {int}##{int}##{int}##{int}"),
            (40, "30002312", "Step_Report", "calculate altitude total={int}"),
            (40, "30002312", "Step_Report", "calculate calories total={int}"),
            (20, "30002312", "Step_LSC", "process broadcast action:org.example.action.{word}"),
            (10, "30002313", "Step_Flush", "flush sensor data"),
            (10, "30002313", "Step_Screen", "screen status unknown,think screen on"),
            (5, "30002313", "Step_Data", "upLoadOneMinuteToEngine time={int},{int},{int},{int},{int}"),
        ),
    ),
    "proxy": (
        _proxy,
        (
            (90, "", "", "{host}:{int} open through proxy {host}:{int} HTTPS"),
            (90, "", "", "{host}:{int} close, {int} bytes sent, {int} bytes received, lifetime {life}"),
            (30, "", "", "{host}:{int} close, {int} bytes ({float} KB) sent, {int} bytes ({float} KB) received, lifetime {life}"),
            (20, "", "", "{host}:{int} error : Could not connect through proxy {host}:{int} - Proxy closed the connection."),
            (10, "", "", "{host}:{int} open directly"),
            (5, "", "", "{host}:{int} error : Could not resolve {word}.example.org"),
        ),
    ),
    "desktop": (
        _desktop,
        (
            (60, "", "kernel", "AirWire::handlePower - power packet for route = {hex} port = {int} unplug = {int}"),
            (60, "", "org.example.Scheduler", "Thermal pressure: {int} Memory pressure: {int}"),
            (40, "", "Word Writer", "tls_session_error_callback {int} tls_write_block_invoke.{int} error {int}"),
            (30, "", "kernel", "en{int}: BSSID changed to {mac}"),
            (30, "", "daemonx", "Endpoint has been activated through legacy path(3) APIs. Please switch to modern"),
            (20, "", "Mail Reader", "Account {users} went online"),
            (20, "", "networkd", "nw_nat64_post_new_ifstate successfully changed NAT64 ifstate from {hex} to {hex}"),
            (20, "", "symptomsd", "__SecCopy entry {uuid} for {package}: {label} (code {int})"),
            (10, "", "kernel", "hibernate image path: {path}"),
            (10, "", "kernel", "Wake reason: {word} (User)"),
            (10, "", "Browser Helper", "Couldn't parse sheet '{label}' of {host}"),
            (10, "", "loginwindow", "-[Session {class}:]: resetting idle timer for {users}"),
            (5, "", "kernel", "Wake failed on bus {word}"),
            (4, "", "kernel", "AirWire::wakeCall - messageType = {hex}"),
            (4, "", "kernel", "AirWire::sleepCall - messageType = {hex}"),
            (4, "", "kernel", "AirWire::gatedWake - messageType = {hex}"),
            (4, "", "kernel", "ARX: {float}: radio: setDisplay"),
            (4, "", "kernel", "ARX: {float}: radio: System Wake - Full Wake/ Dark Wake"),
            (4, "", "kernel", "ARX: {float}: radio: System Sleep"),
            (4, "", "kernel", "Root: idle cancel, phase {int}"),
            (4, "", "kernel", "Root: idle revert, phase {int}"),
            (4, "", "symptomsd", "-[NetManager reload] on {uuid}"),
            (4, "", "symptomsd", "-[NetManager flush] on {uuid}"),
            (4, "", "Mail Reader", "Unexpected payload found for message {int}, dataLen {int}"),
            (4, "", "Mail Reader", "Unexpected ending found for message {int}, dataLen {int}"),
        ),
    ),
    "cloud": (
        _cloud,
        (
            (120, "INFO", "sky.wsgi.server", '{ip} "GET {target} HTTP/1.1" status: {int} len: {int} time: {float}'),
            (40, "INFO", "sky.wsgi.server", '{ip} "POST {target} HTTP/1.1" status: {int} len: {int} time: {float}'),
            (20, "INFO", "sky.wsgi.server", '{ip} "DELETE {target} HTTP/1.1" status: {int} len: {int} time: {float}'),
            (20, "INFO", "sky.manager", "[instance: {uuid}] VM Started (Lifecycle Event)"),
            (20, "INFO", "sky.manager", "[instance: {uuid}] VM Paused (Lifecycle Event)"),
            (20, "INFO", "sky.manager", "[instance: {uuid}] VM Resumed (Lifecycle Event)"),
            (20, "INFO", "sky.claims", "[instance: {uuid}] Total memory: {int} MB, used: {float} MB"),
            (20, "INFO", "sky.images", "image {uuid} at ({path}): in use: on this node {int} local, {int} remote"),
            (10, "WARNING", "sky.images", "Unknown base file: {path}"),
            (10, "ERROR", "sky.manager", "[instance: {uuid}] Failed to spawn on {host}: no {word} left"),
            (5, "INFO", "sky.images", "Active base files: {path} {path}"),
        ),
    ),
    "farm": (
        _farm,
        (
            (60, "", "crond(pam_unix)", "session opened for user {users} by (uid={int})"),
            (60, "", "crond(pam_unix)", "session closed for user {users}"),
            (10, "", "sshd(pam_unix)", "session opened for user {users} by (uid={int})"),
            (10, "", "sshd(pam_unix)", "session closed for user {users}"),
            (60, "", "dhcpd", "DHCPDISCOVER from {mac} via eth{int}: network {word}_net: no free leases"),
            (40, "", "crond", "({users}) CMD (run-parts {path})"),
            (40, "", "/apps/gmetad", "data_thread() got no answer from any [Farm_A{int}] datasource"),
            (30, "", "postfix/postdrop", "warning: unable to look up public/{word}: No such file or directory"),
            (30, "", "ib_sm.x", "[ib_sm_sweep.c:{int}]: No configuration change needed"),
            (20, "", "ntpd", "synchronized to {ip}, stratum {int}"),
            (4, "", "ntpd", "kernel time sync mode {int}"),
            (4, "", "ntpd", "frequency initialized {float} PPM from {path}"),
            (4, "", "kernel", "klogd {float}, log source = {path} online"),
            (4, "", "xinetd", "xinetd startup succeeded"),
            (4, "", "atd", "atd startup succeeded"),
            (4, "", "klogger", "klogger startup succeeded"),
            (4, "", "cups", "cupsd shutdown succeeded"),
            (4, "", "snmpd", "Received TERM or STOP signal... shutting down"),
            (4, "", "snmpd", "Received HUP signal... reading again"),
            (4, "", "kernel", "ACPI: Processor {word} reset"),
            (4, "", "kernel", "usb: new device on bus {int}"),
            (4, "", "kernel", "usb: slow device on bus {int}"),
            (20, "", "sshd", "Accepted publickey for {users} from ::ffff:{ip} port {int} ssh2"),
            (20, "", "kernel", "lnet: {int}:({word}.c:{int}:{word}_check()) too many {word} pages"),
            (10, "", "kernel", "scsi{int} channel {int} lun {int} {mac} online"),
            (5, "", "sendmail", "{id}: to={users}, ctladdr={users} ({int}/{int}), delay={int}, stat=Sent"),
            (5, "", "sendmail", "{id}: to={users}, ctladdr={users} ({int}/{int}), delay={int}, stat=Deferred"),
        ),
    ),
    "jobs": (
        _jobs,
        (
            (60, "INFO", "org.example.mr.app.Tasks", "attempt_{int}_{int}_m_{int}_{int} TaskAttempt Transitioned from NEW to UNASSIGNED"),
            (60, "INFO", "org.example.mr.app.Tasks", "Progress of TaskAttempt attempt_{int}_{int} is : {float}"),
            (40, "INFO", "org.example.ipc.Server", "Auth successful for job_{int} (auth:SIMPLE)"),
            (40, "WARN", "org.example.ipc.Client", "Address change detected. Old: {host}/{ip}:{int} New: {host}:{int}"),
            (30, "INFO", "org.example.dfs.Names", "BLOCK ask {ip}:{int} to delete  {blocks}"),
            (20, "ERROR", "org.example.mr.Commit", "Could not deallocate container for task attemptId attempt_{int}"),
            (20, "INFO", "org.example.mr.App", "Using callQueue class org.example.queue.{class}"),
            (20, "INFO", "org.example.mr.App", "Event Writer setup for JobId: job_{int}, File: hdfs://{word}:{int}/{word}/{word}.xml"),
            (10, "INFO", "org.example.mr.App", "Registering class org.example.events.{class} for class org.example.app.{class}"),
            (10, "INFO", "org.example.mr.App", "Created MRApp for application appattempt_{int}_{int}"),
            (10, "WARN", "org.example.dfs.Output", "DataStreamer Exception on {host}: {class}Exception"),
            (5, "INFO", "org.example.mr.Plan", "Reduce slow start threshold not met. completedMaps {int}"),
        ),
    ),
}  # fmt: skip

SYSTEMS: Final = tuple(_SYSTEMS)


def generate(system: str, *, lines: int = LINES) -> Generated:
    """Make the lines of one of the `SYSTEMS`."""
    header, kinds = _SYSTEMS[system]
    rng = random.Random(f"{system} {_SEED}")
    chosen = rng.choices(kinds, weights=[weight for weight, *_ in kinds], k=lines)
    raw, messages = [], []
    for step, (_, level, program, template) in enumerate(chosen):
        message = _message(template, rng)
        raw.append((header(_Moment(rng=rng, step=step), level, program) + message).encode())
        messages.append(message.encode())
    return Generated(lines=tuple(raw), messages=tuple(messages), templates=tuple(template for *_, template in chosen))


def _message(template: str, rng: random.Random) -> str:
    parts = template.replace("{{", "\0").replace("}}", "\1").split("{")
    filled = [parts[0]]
    for part in parts[1:]:
        kind, _, literal = part.partition("}")
        filled += (_fill(kind, rng), literal)
    return "".join(filled).replace("\0", "{").replace("\1", "}")
