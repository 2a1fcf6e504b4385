"""Lines of diverse products as they are met in the field, each with its known template: what signatures are judged on.

The layouts are those of real programs (storage controllers, routers, mail, DHCP, VPN, hypervisors, databases, queues,
CI runners, Windows exports); the messages and all values are invented. They were written before anyone looked at how
the signatures treat them. The lines are a function of the system's name alone.
"""

# ruff: noqa: E501, SIM905 - a message is one line, and lists of quoted words would not be readable

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

LINES: Final = 2_000
_SEED: Final = 7_041_776

_SETS: Final[dict[str, tuple[str, ...]]] = {
    "user": tuple("root alice bob j.smith m.garcia deploy backup svc_etl admin oracle guest kfowler t.nguyen jenkins ops".split()),
    "domuser": ("ACME\\bob", "ACME\\alice", "NT AUTHORITY\\SYSTEM", "ACME\\svc-sql", "ACME\\kfowler", "WKS7\\Admin"),
    "host": tuple("mx1.example.org web-03.prod.example.com relay.mail.example.net pc-114.corp.local storage7 unknown edge2.fra.example.com".split()),
    "node": ("c3-0c1s4n2", "c0-0c0s7n3", "c11-2c2s15n0", "c7-1c0s9n1"),
    "short": tuple("web-03 db-1 cache7 nas2 esx14 runner-a builder edge-fra-2".split()),
    "nic": tuple("eth0 ens192 bond0 vmnic3 GigabitEthernet0/1 TenGigE0/0/0/3 wlan0 Vlan120 tun0".split()),
    "volume": tuple("vol_oracle_01 LUN17 datastore-ssd scratch home2 backup_daily vm_templates archive".split()),
    "queue": tuple("orders invoices.retry email-out thumbnails audit.events dead-letter search-index billing".split()),
    "service": tuple("checkout inventory payments search mailer gateway scheduler reports catalog".split()),
    "winservice": ("Print Spooler", "Windows Update", "DHCP Client", "WinHTTP Web Proxy Auto-Discovery Service", "BITS", "Device Setup Manager"),
    "table": tuple("orders customers invoice_items sessions audit_log shipments products price_history".split()),
    "class": tuple("OrderService InvoiceMapper CartController RetryPolicy SessionStore PriceCache MailTemplate".split()),
    "exc": tuple("java.io.IOException java.net.SocketTimeoutException java.lang.IllegalStateException org.acme.QuotaExceededException".split()),
    "app": tuple("outlook.exe teams.exe backup-agent chrome explorer.exe winword.exe sqlservr.exe".split()),
    "word": tuple("apple banana cherry damson elder fig grape hazel iris juniper kiwi lemon mango nutmeg olive pear quince rose sage thyme".split()),
    "bool": ("true", "false"),
    "country": tuple("US DE FR NL SG BR JP GB".split()),
    "proto": ("TCP", "UDP"),
}  # fmt: skip


def _fill(kind: str, rng: random.Random) -> str:
    if kind in _SETS:
        return rng.choice(_SETS[kind])
    number = rng.randrange(1, 10 ** rng.randrange(1, 7))
    word, hexes = rng.choice(_SETS["word"]), f"{rng.getrandbits(128):032x}"
    match kind:
        case "int" | "n":
            return str(number)
        case "small":
            return str(rng.randrange(0, 10))
        case "float":
            return f"{rng.random() * 100:.3f}"
        case "hex":
            return f"0x{rng.getrandbits(rng.choice((16, 32, 48))):x}"
        case "id":
            return hexes[:8]
        case "sha":
            return hexes + hexes[:8]
        case "uuid":
            return "-".join((hexes[:8], hexes[8:12], hexes[12:16], hexes[16:20], hexes[20:]))
        case "base":
            return "".join(rng.choice("ABCDEFGHKLMNPQRSTVWXYZabcdefghkmnpqrstuvwxyz23456789") for _ in range(11))
        case "ip":
            return ".".join(str(rng.randrange(1, 255)) for _ in range(4))
        case "ip6":
            return f"2001:db8:{hexes[:4]}:{hexes[4:8]}::{hexes[8:10]}"
        case "mac":
            return ":".join(f"{rng.getrandbits(8):02x}" for _ in range(6))
        case "path":
            return (
                "/" + "/".join(rng.sample(_SETS["word"], rng.randrange(1, 5))) + rng.choice(("", ".log", ".conf", "/"))
            )
        case "file":
            return f"{word}{rng.choice(('', '_v2', '-old'))}.{rng.choice(('java', 'csv', 'xml', 'tar.gz', 'py'))}"
        case "url":
            return f"https://{rng.choice(_SETS['host'])}/{word}/{number}{rng.choice(('', '?page=2', '?q=' + word))}"
        case "mail":
            return f"{rng.choice(_SETS['user'])}@{rng.choice(('example.org', 'mail.example.com', 'acme.test'))}"
        case "domain":
            return f"{word}.{rng.choice(('example.org', 'example.com', 'test'))}"
        case "label":
            return " ".join(rng.sample(_SETS["word"], rng.randrange(1, 4)))
        case "list":
            return ", ".join(rng.sample(_SETS["word"], rng.randrange(1, 6)))
        case "dur":
            return rng.choice((f"{number}ms", f"{number / 1000:.2f}s", f"{number}us", f"{number}ms"))
        case "size":
            return rng.choice((f"{number} KB", f"{number / 10:.1f} MB", f"{number % 40} GB"))
        case "ver":
            return f"{rng.randrange(9)}.{rng.randrange(20)}.{rng.randrange(60)}"
        case "pkg":
            return f"com.acme.{word}.{rng.choice(_SETS['class'])}"
        case "nodes":
            return rng.choice(
                (
                    f"node{rng.randrange(99)}",
                    f"node[{rng.randrange(9)}-{rng.randrange(10, 99)}]",
                    f"node[{rng.randrange(9)},{rng.randrange(10, 99)}]",
                )
            )
        case _:
            raise KeyError(kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a header is written from: the step and the level and program of its message."""

    rng: random.Random
    step: int
    level: str
    program: str

    @property
    def clock(self) -> str:
        """The time of day, two seconds further on each step."""
        seconds = 36_000 + 2 * self.step
        return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"

    def number(self, low: int, high: int) -> int:
        """Any number of a range."""
        return self.rng.randrange(low, high)

    def fill(self, kind: str) -> str:
        """A value of a kind."""
        return _fill(kind, self.rng)


_HOLE: Final = re.compile(r"\{(\w+)\}")

_HEADERS: Final[dict[str, Callable[[Head], str]]] = {
    "array": lambda h: f"2026-03-04 {h.clock}  CTRL-{h.rng.choice('AB')}  {h.level}  {h.number(0, 65535):04X}  {h.program:<12}",
    "router": lambda h: f"{h.step + 4711:06}: Mar  4 {h.clock}.{h.number(0, 999):03}: %{h.program}: ",
    "firewall": lambda h: f"Mar 04 2026 {h.clock} fw-{h.number(1, 4)} : %FWX-{h.level}-{h.program}: ",
    "mail": lambda h: f"Mar  4 {h.clock} mx1 {h.program}[{h.number(300, 32000)}]: ",
    "dhcp": lambda h: f"2026-03-04 {h.clock}.{h.number(0, 999):03} {h.level:<5} [dhcp4.{h.program}/{h.number(800, 900)}.{h.number(10**9, 10**10)}] ",
    "vpn": lambda h: f"Wed Mar  4 {h.clock} 2026 us={h.number(0, 999999)} {h.rng.choice(('client7', 'alice', 'branch-fra', 'bob'))}/{h.fill('ip')}:{h.number(1024, 65000)} ",
    "hypervisor": lambda h: f"2026-03-04T{h.clock}.{h.number(0, 999):03}Z {h.level} hostagent[{h.number(2_000_000, 2_100_000)}] [Originator@6876 sub={h.program} opID={h.fill('id')}-{h.number(10, 99)}] ",
    "vmkernel": lambda h: f"2026-03-04T{h.clock}.{h.number(0, 999):03}Z cpu{h.number(0, 48)}:{h.number(2_097_000, 2_099_000)}){h.program}: {h.number(100, 9000)}: ",
    "postgres": lambda h: f"2026-03-04 {h.clock}.{h.number(0, 999):03} UTC [{h.number(100, 30000)}] {h.fill('user')}@{h.rng.choice(('shop', 'crm', 'dwh'))} {h.level}:  ",
    "mysql": lambda h: f"2026-03-04T{h.clock}.{h.number(0, 999999):06}Z {h.number(0, 900)} [{h.level}] [MY-{h.program}] [{h.rng.choice(('Server', 'Server', 'InnoDB'))}] ",
    "runner": lambda h: f"[{h.clock}][{h.level}] [runner-{h.number(1, 9)}] ",
    "proxycache": lambda h: f"2026/03/04 {h.clock} kid{h.number(1, 5)}| ",
    "logback": lambda h: f"{h.clock}.{h.number(0, 999):03} [{h.rng.choice(('main', f'http-nio-8080-exec-{h.number(1, 40)}', f'pool-{h.number(1, 4)}-thread-{h.number(1, 9)}'))}] {h.level:<5} c.a.shop.{h.program} - ",
    "pipes": lambda h: f"2026-03-04 {h.clock},{h.number(0, 999):03}|{h.level}|pool-{h.number(1, 4)}-thread-{h.number(1, 9)}|com.acme.{h.program}|",
    "tabs": lambda h: f"2026-03-04T{h.clock}.{h.number(0, 10**9):09}+01:00\t{h.number(1000, 20000)}\t{h.level}\t{h.program}\t",
    "glog": lambda h: f"{h.level}0304 {h.clock}.{h.number(0, 999999):06} {h.number(1, 40000):7} {h.program}:{h.number(10, 900)}] ",
    "winevents": lambda h: f"{h.level}\t3/4/2026 {h.clock} AM\t{h.program}\t",
    "unified": lambda h: f"2026-03-04 {h.clock}.{h.number(0, 999999):06}+0100 0x{h.number(1000, 90000):<9x} {h.level:<11} 0x{h.number(0, 900):<18x} {h.number(80, 900):<6} 0    {h.program}: ",
    "scheduler": lambda h: f"[2026-03-04T{h.clock}.{h.number(0, 999):03}] {h.level}",
    "nodes": lambda h: f"{1_772_618_401 + h.step} {h.fill('node')} {h.program} {h.level} {h.number(0, 4)} ",
    "broker": lambda h: f"2026-03-04 {h.clock}.{h.number(0, 999):03} [{h.level}] <0.{h.number(200, 30000)}.0> ",
    "keystore": lambda h: f"{h.number(700, 900)}:{h.program} 04 Mar 2026 {h.clock}.{h.number(0, 999):03} {h.level} ",
    "weberror": lambda h: f"2026/03/04 {h.clock} [{h.level}] {h.number(10, 40)}#{h.number(10, 40)}: *{h.number(1, 90000)} ",
    "dns": lambda h: f"04-Mar-2026 {h.clock}.{h.number(0, 999):03} {h.program}: {h.level}: ",
    "search": lambda h: f"[2026-03-04T{h.clock},{h.number(0, 999):03}][{h.level:<5}][{h.program:<25}] [es-node-{h.number(1, 5)}] ",
    "pbx": lambda h: f"[Mar  4 {h.clock}] {h.level}[{h.number(1000, 9000)}]{h.rng.choice(('', f'[C-{h.number(0, 65535):08x}]'))} {h.program}: ",
    "pylog": lambda h: f"2026-03-04 {h.clock},{h.number(0, 999):03} - app.{h.program} - {h.level} - ",
    "monitor": lambda h: f"{h.number(1000, 3000):6}:20260304:{h.clock.replace(':', '')}.{h.number(0, 999):03} ",
    "appserver": lambda h: f"[3/4/26 {h.clock}:{h.number(0, 999):03} CET] {h.number(0, 255):08x} {h.program:<13} {h.level} ",
    "bare": lambda _: "",
    "dmesg": lambda h: f"[{1200 + h.step * 0.731:12.6f}] ",
    "handset": lambda h: f"{h.level}/{h.program:<8}({h.number(90, 30000):5}): ",
}  # fmt: skip

# One kind a line: weight, level, program, template; a word in braces is filled in anew for each line.
_KINDS: Final[dict[str, str]] = {
    "array": """
40 ~ I ~ disk_mgr ~ Drive {int} in enclosure {small} reported media error at LBA {hex}
40 ~ I ~ cache ~ Write cache flush completed for {volume} in {int} ms
30 ~ I ~ rebuild ~ Rebuild of {volume} is {int} percent complete
20 ~ W ~ psu ~ Power supply {small} input voltage {float} V is below threshold
20 ~ I ~ snap ~ Snapshot {volume}.{int} created by schedule {label}
10 ~ W ~ fc_port ~ Port FC{small} lost synchronization, {int} invalid words
10 ~ E ~ ctrl ~ Partner controller heartbeat missed for {int} seconds
8 ~ I ~ fc_port ~ Port FC{small} link speed negotiated to {int} Gbps
6 ~ E ~ disk_mgr ~ Drive {int} in enclosure {small} failed and was removed from pool {word}
5 ~ I ~ replica ~ Replication session {uuid} to {host} resumed after {int} seconds
4 ~ I ~ login ~ User {user} logged in from {ip}
3 ~ W ~ battery ~ Battery learn cycle is due in {int} days
""",
    "router": """
40 ~  ~ LINEPROTO-5-UPDOWN ~ Line protocol on Interface {nic}, changed state to up
40 ~  ~ LINEPROTO-5-UPDOWN ~ Line protocol on Interface {nic}, changed state to down
30 ~  ~ SYS-5-CONFIG_I ~ Configured from console by {user} on vty{small} ({ip})
20 ~  ~ BGP-5-ADJCHANGE ~ neighbor {ip} Down Hold timer expired
20 ~  ~ BGP-5-ADJCHANGE ~ neighbor {ip} Up
20 ~  ~ SEC-6-IPACCESSLOGP ~ list {int} denied tcp {ip}({int}) -> {ip}({int}), {int} packets
15 ~  ~ OSPF-5-ADJCHG ~ Process {int}, Nbr {ip} on {nic} from LOADING to FULL, Loading Done
10 ~  ~ DUAL-5-NBRCHANGE ~ EIGRP-IPv4 {int}: Neighbor {ip} ({nic}) is up: new adjacency
8 ~  ~ SNMP-3-AUTHFAIL ~ Authentication failure for SNMP req from host {ip}
6 ~  ~ SW_MATM-4-MACFLAP_NOTIF ~ Host {mac} in vlan {int} is flapping between port {nic} and port {nic}
5 ~  ~ ENVMON-4-FANFAIL ~ Fan tray {small} missing or failed
4 ~  ~ SYS-2-MALLOCFAIL ~ Memory allocation of {int} bytes failed from {hex}, alignment {small}
""",
    "firewall": """
60 ~ 6 ~ 302013 ~ Built outbound TCP connection {int} for outside:{ip}/{int} ({ip}/{int}) to inside:{ip}/{int} ({ip}/{int})
60 ~ 6 ~ 302014 ~ Teardown TCP connection {int} for outside:{ip}/{int} to inside:{ip}/{int} duration 0:{int}:{int} bytes {int} TCP FINs
40 ~ 6 ~ 302015 ~ Built inbound UDP connection {int} for dmz:{ip}/{int} ({ip}/{int}) to inside:{ip}/{int} ({ip}/{int})
30 ~ 4 ~ 106023 ~ Deny tcp src outside:{ip}/{int} dst inside:{ip}/{int} by access-group "{word}_in" [{hex}, {hex}]
20 ~ 6 ~ 305011 ~ Built dynamic TCP translation from inside:{ip}/{int} to outside:{ip}/{int}
10 ~ 5 ~ 111008 ~ User '{user}' executed the 'show {word}' command.
10 ~ 4 ~ 733100 ~ [ Scanning] drop rate-{small} exceeded. Current burst rate is {int} per second, max configured rate is {int}
8 ~ 6 ~ 113004 ~ AAA user authentication Successful : server = {ip} : user = {user}
8 ~ 6 ~ 113005 ~ AAA user authentication Rejected : reason = AAA failure : server = {ip} : user = {user}
4 ~ 3 ~ 210007 ~ LU allocate xlate failed for type {int}
3 ~ 1 ~ 105005 ~ (Primary) Lost Failover communications with mate on interface {nic}
""",
    "mail": """
60 ~  ~ postfix/smtpd ~ connect from {host}[{ip}]
60 ~  ~ postfix/smtpd ~ disconnect from {host}[{ip}] ehlo=1 mail=1 rcpt={small} data=1 quit=1 commands={small}
50 ~  ~ postfix/qmgr ~ {base}: from=<{mail}>, size={int}, nrcpt={small} (queue active)
50 ~  ~ postfix/cleanup ~ {base}: message-id=<{id}.{int}@{domain}>
50 ~  ~ postfix/qmgr ~ {base}: removed
40 ~  ~ postfix/smtp ~ {base}: to=<{mail}>, relay={host}[{ip}]:25, delay={float}, delays={float}/{float}/{float}/{float}, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as {base})
10 ~  ~ postfix/smtp ~ {base}: to=<{mail}>, relay=none, delay={float}, delays={float}/{float}/{float}/{float}, dsn=4.4.1, status=deferred (connect to {host}[{ip}]:25: Connection timed out)
10 ~  ~ postfix/smtpd ~ NOQUEUE: reject: RCPT from {host}[{ip}]: 554 5.7.1 Service unavailable; Client host [{ip}] blocked using {domain}; from=<{mail}> to=<{mail}> proto=ESMTP helo=<{host}>
10 ~  ~ postfix/smtpd ~ warning: {host}[{ip}]: SASL LOGIN authentication failed: UGFzc3dvcmQ6
10 ~  ~ dovecot ~ imap-login: Login: user=<{user}>, method=PLAIN, rip={ip}, lip={ip}, mpid={int}, TLS, session=<{base}>
10 ~  ~ dovecot ~ imap({user})<{int}><{base}>: Logged out in={int} out={int} deleted={small} expunged={small}
4 ~  ~ postfix/anvil ~ statistics: max connection rate {small}/60s for (smtp:{ip}) at Mar  4 10:10:10
3 ~  ~ opendkim ~ {base}: DKIM-Signature field added (s={word}, d={domain})
""",
    "dhcp": """
50 ~ INFO ~ leases ~ LEASE_ADVERT [hwtype=1 {mac}], cid=[{mac}], tid={hex}: lease {ip} will be advertised
50 ~ INFO ~ leases ~ LEASE_ALLOC [hwtype=1 {mac}], cid=[no info], tid={hex}: lease {ip} has been allocated for {int} seconds
20 ~ DEBUG ~ packets ~ PACKET_RECEIVED [hwtype=1 {mac}], cid=[no info], tid={hex}: DHCPREQUEST (type 3) received from {ip} to {ip} on interface {nic}
20 ~ DEBUG ~ packets ~ PACKET_SEND [hwtype=1 {mac}], cid=[no info], tid={hex}: trying to send packet DHCPACK (type 5) from {ip}:67 to {ip}:68 on interface {nic}
10 ~ WARN ~ alloc-engine ~ ALLOC_FAIL [hwtype=1 {mac}], cid=[no info], tid={hex}: failed to allocate an IPv4 lease in subnet {ip}/24, subnet-id {small}
8 ~ INFO ~ leases ~ LEASES_RECLAMATION_COMPLETE reclaimed {int} leases in {float} ms
8 ~ INFO ~ dhcpsrv ~ CFGMGR_SUBNET a new subnet has been added to configuration: {ip}/24 with params: valid-lifetime={int}
5 ~ ERROR ~ hosts ~ HOSTS_BACKEND_ERROR cannot open database connection to {host}: {word} timed out
""",
    "vpn": """
40 ~  ~  ~ TLS: Initial packet from [AF_INET]{ip}:{int}, sid={id} {id}
40 ~  ~  ~ VERIFY OK: depth={small}, C={country}, O=Acme, CN={domain}
30 ~  ~  ~ Control Channel: TLSv1.3, cipher TLSv1.3 TLS_AES_256_GCM_SHA384, peer certificate: {int} bits
30 ~  ~  ~ MULTI: Learn: {ip} -> {user}/{ip}:{int}
20 ~  ~  ~ PUSH: Received control message: 'PUSH_REQUEST'
20 ~  ~  ~ SENT CONTROL [{user}]: 'PUSH_REPLY,route {ip} {ip},ifconfig {ip} {ip},peer-id {small}' (status=1)
10 ~  ~  ~ SIGUSR1[soft,ping-restart] received, client-instance restarting
10 ~  ~  ~ Inactivity timeout (--ping-restart), restarting
8 ~  ~  ~ AUTH: Received control message: AUTH_FAILED
6 ~  ~  ~ TLS Error: TLS key negotiation failed to occur within {int} seconds (check your network connectivity)
5 ~  ~  ~ write UDPv4: No route to host (code={int})
""",
    "hypervisor": """
40 ~ info ~ Vimsvc.TaskManager ~ Task Created : haTask-{int}-vm.PowerOn-{int}
40 ~ info ~ Vimsvc.TaskManager ~ Task Completed : haTask-{int}-vm.PowerOn-{int} Status success
20 ~ info ~ Vmsvc.vm:/volumes/{word}/{word}.vmx ~ State Transition (VM_STATE_OFF -> VM_STATE_POWERING_ON)
20 ~ warning ~ Statssvc ~ Calculated read I/O size {int} for scsi0:{small} is out of range -- {int},prevBytes = {int} curBytes = {int}
20 ~ verbose ~ PropertyProvider ~ RecordOp ASSIGN: guest.disk, {int}. Sent notification immediately.
10 ~ info ~ Hostd ~ Event {int} : User {user}@{ip} logged in as agent-client/{ver}
10 ~ info ~ Hostd ~ Event {int} : User {user}@{ip} logged out (login time: {int}, number of API invocations: {int})
8 ~ error ~ Vmsvc ~ Failed to read snapshot list of vm {int}: {path} is locked
5 ~ warning ~ Hostsvc ~ Datastore {volume} is running low on space: {int} MB left
4 ~ info ~ Libs ~ CnxAuthdProtoConnect: connected to {host} in {int} ms
""",
    "vmkernel": """
40 ~  ~ ScsiDeviceIO ~ Cmd({hex}) 0x2a, CmdSN {hex} from world {int} to dev "naa.{sha}" failed H:{hex} D:{hex} P:{hex}
20 ~  ~ NMP ~ nmp_ThrottleLogForDevice: last error status from device naa.{sha} repeated {int} times
20 ~  ~ NetPort ~ disabled port {hex}
20 ~  ~ NetPort ~ enabled port {hex} with mac {mac}
10 ~  ~ VSCSI ~ handle {int}(GID:{int})(vscsi0:{small}):Reset request on FSS handle {int} ({int} outstanding commands) from {word}
10 ~  ~ Swap ~ vm {int}: extending swap to {int} KB
8 ~  ~ WARNING ~ NFS: lost connection to the server {host} mount point {path}, mounted as {uuid}-{id} ("{volume}")
8 ~  ~ NFS ~ Restored connection to the server {host} mount point {path}, mounted as {uuid}-{id} ("{volume}")
5 ~  ~ Hardware ~ Setting CPU {int} temperature limit to {int}
""",
    "postgres": """
40 ~ LOG ~  ~ duration: {float} ms  statement: SELECT count(*) FROM {table} WHERE id = {int}
30 ~ LOG ~  ~ connection authorized: user={user} database={word} application_name={service}
30 ~ LOG ~  ~ disconnection: session time: 0:{int}:{float} user={user} database={word} host={ip} port={int}
20 ~ ERROR ~  ~ duplicate key value violates unique constraint "{table}_pkey"
20 ~ LOG ~  ~ checkpoint complete: wrote {int} buffers ({float}%); {small} WAL file(s) added, {small} removed, {small} recycled; write={float} s, sync={float} s, total={float} s
10 ~ ERROR ~  ~ relation "{table}" does not exist at character {int}
10 ~ FATAL ~  ~ password authentication failed for user "{user}"
10 ~ LOG ~  ~ process {int} still waiting for ShareLock on transaction {int} after {float} ms
8 ~ ERROR ~  ~ deadlock detected
8 ~ ERROR ~  ~ canceling statement due to statement timeout
6 ~ LOG ~  ~ automatic vacuum of table "shop.public.{table}": index scans: {small}
4 ~ FATAL ~  ~ remaining connection slots are reserved for non-replication superuser connections
3 ~ LOG ~  ~ temporary file: path "base/pgsql_tmp/pgsql_tmp{int}.{small}", size {int}
""",
    "mysql": """
40 ~ Warning ~ 010055 ~ IP address '{ip}' could not be resolved: Name or service not known
30 ~ Note ~ 010914 ~ Aborted connection {int} to db: '{word}' user: '{user}' host: '{host}' (Got timeout reading communication packets)
10 ~ Note ~ 010914 ~ Access denied for user '{user}'@'{host}' (using password: YES)
10 ~ System ~ 010116 ~ /usr/sbin/mysqld (mysqld {ver}) starting as process {int}
10 ~ System ~ 013577 ~ initialization has ended after {int} ms
10 ~ ERROR ~ 012592 ~ Operating system error number {int} in a file operation.
10 ~ Note ~ 011243 ~ Page cleaner took {int}ms to flush {int} and evict {int} pages
6 ~ Warning ~ 013360 ~ Plugin {word} reported: '{word} is deprecated and will be removed in a future release'
5 ~ ERROR ~ 010584 ~ Replica SQL for channel '{word}': Worker {small} failed executing transaction '{uuid}:{int}' at source log binlog.{int}, end_log_pos {int}
""",
    "runner": """
40 ~ INFO ~  ~ Step {small}/{int} : RUN make -j{small} {word}
30 ~ INFO ~  ~ Pulling image registry.example.com/{word}:{ver}
30 ~ INFO ~  ~ Removing intermediate container {id}
20 ~ INFO ~  ~ Job {int} of project acme/{word} started by {user}
20 ~ INFO ~  ~ Job {int} finished with exit code 0 in {dur}
10 ~ ERROR ~  ~ Job {int} finished with exit code 1 in {dur}
10 ~ INFO ~  ~ Uploading artifact {file} ({size})
10 ~ WARN ~  ~ Cache key {word}-{sha} not found, starting from an empty cache
8 ~ INFO ~  ~ Checking out {sha} as detached HEAD (ref is {word}/{word})
8 ~ ERROR ~  ~ test {word}_{word} failed: expected {int} but got {int}
5 ~ WARN ~  ~ No space left on device while writing {path}
4 ~ INFO ~  ~ Runner is idle, next poll in {dur}
""",
    "proxycache": """
30 ~  ~  ~ storeDirWriteCleanLogs: Starting...
30 ~  ~  ~   Finished.  Wrote {int} entries.
30 ~  ~  ~   Took {float} seconds ({float} entries/sec).
20 ~  ~  ~ WARNING: transparent proxying host {domain} does not match destination {ip}
20 ~  ~  ~ Logfile: opening log daemon:{path}
20 ~  ~  ~ helperOpenServers: Starting {small}/{int} '{word}' processes
10 ~  ~  ~ TCP connection to {host}/{int} failed
10 ~  ~  ~ Detected DEAD Parent: {host}
10 ~  ~  ~ Detected REVIVED Parent: {host}
8 ~  ~  ~ SECURITY ALERT: on URL: {url}
5 ~  ~  ~ clientProcessHit: Vary object loop!
4 ~  ~  ~ local={ip}:{int} remote={ip}:{int} FD {int} flags={small}: read/write failure: ({int}) Broken pipe
""",
    "logback": """
40 ~ DEBUG ~ OrderService ~ Loaded order {int} for customer {user} with {small} items
30 ~ INFO ~ CartController ~ {user} added product {int} to cart {uuid}
20 ~ INFO ~ PaymentGateway ~ Payment {uuid} of {float} EUR authorised by provider {word}
20 ~ WARN ~ PriceCache ~ Cache miss ratio {float} above limit, resizing to {int}
20 ~ DEBUG ~ HttpClient ~ GET {url} -> 200 in {int} ms
10 ~ WARN ~ HttpClient ~ GET {url} -> 503 in {int} ms
10 ~ ERROR ~ PaymentGateway ~ Payment {uuid} refused by provider {word}
10 ~ ERROR ~ OrderService ~ Could not store order {int}: {exc}
8 ~ INFO ~ Scheduler ~ Next run of {class} at 2026-03-04T11:00
6 ~ INFO ~ Boot ~ Started Application in {float} seconds (process running for {float})
6 ~ INFO ~ Boot ~ Active profiles: {list}
4 ~ INFO ~ Boot ~ Stopping Application
""",
    "pipes": """
40 ~ INFO ~ billing.Invoices ~ Invoice {int} rendered in {dur}
30 ~ INFO ~ billing.Invoices ~ Invoice {int} sent to {mail}
20 ~ WARN ~ billing.Retry ~ Attempt {small} of {small} for {queue} failed, next in {dur}
20 ~ DEBUG ~ db.Pool ~ total={int} active={small} idle={small} waiting={small}
20 ~ INFO ~ api.Access ~ user {user} opened report {label}
10 ~ ERROR ~ db.Pool ~ connection {id} is not available, request timed out after {dur}
10 ~ INFO ~ jobs.Cleaner ~ removed {int} expired sessions
8 ~ WARN ~ api.Access ~ token of {user} expires in {dur}
5 ~ ERROR ~ api.Access ~ {exc} while reading {path}
5 ~ INFO ~ jobs.Cleaner ~ nothing to remove
""",
    "tabs": """
40 ~ info ~ scheduler ~ pod {word}-{id} bound to node {short}
30 ~ info ~ scheduler ~ evaluating {int} nodes for pod {word}-{id}
20 ~ debug ~ cache ~ snapshot {int} updated in {dur}
20 ~ warn ~ scheduler ~ no node fits pod {word}-{id}: {small} insufficient memory
20 ~ info ~ volumes ~ attached volume pvc-{uuid} to {short}
20 ~ info ~ volumes ~ detached volume pvc-{uuid} from {short}
10 ~ error ~ volumes ~ attach of pvc-{uuid} timed out after {dur}
8 ~ info ~ leader ~ renewed lease {word}/{word} until 2026-03-04T10:20:00Z
6 ~ warn ~ leader ~ lost lease {word}/{word}, stepping down
4 ~ error ~ cache ~ resync needed: gap between {int} and {int}
""",
    "glog": """
40 ~ I ~ server.cc ~ Accepted connection from {ip}:{int} on fd {int}
30 ~ I ~ server.cc ~ Closed connection from {ip}:{int} after {dur}
20 ~ I ~ tablet.cc ~ T {sha} P {sha}: Flushed {int} rows to disk in {dur}
20 ~ I ~ compaction.cc ~ Compacting {small} files of level {small} into level {small}
20 ~ W ~ raft.cc ~ Leader {uuid} did not send heartbeat for {dur}, starting election
10 ~ I ~ raft.cc ~ Became leader of term {int} with {small} votes
10 ~ E ~ disk.cc ~ read of block {int} on {path}: checksum mismatch {hex} vs {hex}
8 ~ W ~ rpc.cc ~ Call {word}.{class} from {ip}:{int} took {dur} (client timeout {dur})
6 ~ I ~ memory.cc ~ Released {size} of free memory to the system
4 ~ F ~ main.cc ~ Check failed: state == {word} ({small} vs. {small})
""",
    "winevents": """
40 ~ Information ~ Service Control Manager ~ 7036\tNone\tThe {winservice} service entered the running state.
40 ~ Information ~ Service Control Manager ~ 7036\tNone\tThe {winservice} service entered the stopped state.
30 ~ Information ~ Security-Auditing ~ 4624\tLogon\tAn account was successfully logged on. Subject: {domuser} Logon Type: {small} Source Address: {ip}
20 ~ Information ~ Security-Auditing ~ 4625\tLogon\tAn account failed to log on. Subject: {domuser} Failure Reason: bad password. Source Address: {ip}
20 ~ Information ~ Security-Auditing ~ 4672\tSpecial Logon\tSpecial privileges assigned to new logon. Subject: {domuser} Logon ID: {hex}
10 ~ Warning ~ Time-Service ~ 36\tNone\tThe time service has not synchronized the system time for {int} seconds.
10 ~ Error ~ DistributedCOM ~ 10016\tNone\tThe permission settings do not grant Local Activation permission for the COM Server application with CLSID {{{uuid}}} to the user {domuser}.
10 ~ Error ~ Application Error ~ 1000\t(100)\tFaulting application name: {app}, version: {ver}.0, time stamp: {hex} Faulting module name: {word}.dll, Exception code: {hex}
8 ~ Information ~ WindowsUpdateClient ~ 19\tWindows Update Agent\tInstallation Successful: Windows successfully installed the following update: KB{int}
4 ~ Error ~ disk ~ 7\tNone\tThe device, \\Device\\Harddisk{small}\\DR{small}, has a bad block.
4 ~ Error ~ Service Control Manager ~ 7031\tNone\tThe {winservice} service terminated unexpectedly. It has done this {small} time(s).
""",
    "unified": """
40 ~ Default ~ radiod ~ (CoreRadio) [org.acme.radio:server] Device {mac} connected with RSSI -{int}
30 ~ Default ~ radiod ~ (CoreRadio) [org.acme.radio:server] Device {mac} disconnected, reason {int}
30 ~ Info ~ powerd ~ [org.acme.powerd:sleepWake] Process {app}.{int} created assertion {word} age:00:00:{int}
20 ~ Error ~ netagent ~ (Networking) [org.acme.net:connection] [C{int}] connect to {host}:{int} failed: {int}
20 ~ Default ~ kernel ~ (Sandbox) deny file-read-data {path} for {app}({int})
20 ~ Debug ~ indexer ~ [org.acme.index:queue] {int} items queued for volume {volume}
10 ~ Default ~ loginhelper ~ [org.acme.login:session] Session of {user} unlocked
10 ~ Fault ~ indexer ~ [org.acme.index:store] store {uuid} is corrupt at page {int}
5 ~ Default ~ kernel ~ (Graphics) GPU restart requested by {app}, channel {small}
""",
    "scheduler": """
40 ~  ~  ~ sched: Allocate JobId={int} NodeList={nodes} #CPUs={int} Partition={word}
40 ~  ~  ~ _job_complete: JobId={int} done
20 ~  ~  ~ _job_complete: JobId={int} WEXITSTATUS {small}
20 ~  ~  ~ _slurm_rpc_submit_batch_job: JobId={int} InitPrio={int} usec={int}
20 ~  ~  ~ backfill: Started JobId={int} in {word} on {nodes}
10 ~ error: ~  ~ Nodes {nodes} not responding
10 ~ error: ~  ~ Nodes {nodes} not responding, setting DOWN
10 ~  ~  ~ Node {nodes} now responding
8 ~  ~  ~ Time limit exhausted for JobId={int}
8 ~  ~  ~ requeue job JobId={int} due to failure of node {nodes}
6 ~ error: ~  ~ slurm_receive_msg [{ip}:{int}]: Zero Bytes were transmitted or received
4 ~  ~  ~ Resending TERMINATE_JOB request JobId={int} Nodelist={nodes}
4 ~ debug: ~  ~ update_node: node {nodes} reason set to: {label}
""",
    "nodes": """
40 ~ info ~ ec_heartbeat ~ node alive, load {float} {float} {float}
30 ~ warn ~ ec_hw_error ~ corrected memory error on DIMM {small} bank {small} row {hex}
20 ~ info ~ alps ~ apid {int} placed on {int} nodes by {user}
20 ~ info ~ alps ~ apid {int} exited with code {small}
20 ~ info ~ lustre ~ mounted {volume} at {path}
10 ~ error ~ lustre ~ {volume}: connection to {short} was lost; in progress operations will wait for recovery
10 ~ crit ~ ec_node_failed ~ node failed, no heartbeat for {int} seconds
8 ~ error ~ ec_hw_error ~ uncorrectable machine check on cpu {int} status {hex}
8 ~ warn ~ ec_thermal ~ inlet temperature {int} above limit {int}
5 ~ info ~ ec_boot ~ boot image {file} loaded
5 ~ info ~ ec_boot ~ console ready
4 ~ info ~ ec_boot ~ waiting for {word} daemon
""",
    "broker": """
50 ~ info ~  ~ accepting AMQP connection <0.{int}.0> ({ip}:{int} -> {ip}:{int})
50 ~ info ~  ~ connection <0.{int}.0> ({ip}:{int} -> {ip}:{int}): user '{user}' authenticated and granted access to vhost '/'
40 ~ info ~  ~ closing AMQP connection <0.{int}.0> ({ip}:{int} -> {ip}:{int}, vhost: '/', user: '{user}')
20 ~ warning ~  ~ closing AMQP connection <0.{int}.0> ({ip}:{int} -> {ip}:{int}): client unexpectedly closed TCP connection
20 ~ error ~  ~ Error on AMQP connection <0.{int}.0> ({ip}:{int} -> {ip}:{int}, state: starting): PLAIN login refused: user '{user}' - invalid credentials
10 ~ info ~  ~ Mirrored queue '{queue}' in vhost '/': Adding mirror on node rabbit@{short}: <0.{int}.0>
10 ~ warning ~  ~ memory resource limit alarm set on node rabbit@{short}.
8 ~ warning ~  ~ memory resource limit alarm cleared on node rabbit@{short}
8 ~ error ~  ~ Channel error on connection <0.{int}.0> ({ip}:{int} -> {ip}:{int}, vhost: '/', user: '{user}'), channel {small}: no queue '{queue}' in vhost '/'
4 ~ info ~  ~ rabbit on node rabbit@{short} up
""",
    "keystore": """
40 ~ * ~ M ~ {int} changes in {int} seconds. Saving...
40 ~ * ~ M ~ Background saving started by pid {int}
30 ~ * ~ C ~ DB saved on disk
30 ~ * ~ C ~ Fork CoW for RDB: current {int} MB, peak {int} MB, average {int} MB
30 ~ * ~ M ~ Background saving terminated with success
20 ~ - ~ M ~ Accepted {ip}:{int}
20 ~ - ~ M ~ Client closed connection id={int} addr={ip}:{int} laddr={ip}:6379 fd={int} name= age={int} idle={int} db={small}
10 ~ # ~ M ~ WARNING Memory overcommit must be enabled! Without it, a background save may fail under low memory condition.
10 ~ * ~ S ~ Connecting to MASTER {ip}:6379
8 ~ # ~ S ~ Error condition on socket for SYNC: Connection refused
5 ~ # ~ M ~ Can't save in background: fork: Cannot allocate memory
""",
    "weberror": """
40 ~ error ~  ~ open() "{path}" failed (2: No such file or directory), client: {ip}, server: {domain}, request: "GET {path} HTTP/1.1", host: "{domain}"
30 ~ error ~  ~ connect() failed (111: Connection refused) while connecting to upstream, client: {ip}, server: {domain}, request: "POST {path} HTTP/1.1", upstream: "http://{ip}:{int}{path}", host: "{domain}"
20 ~ error ~  ~ upstream timed out (110: Connection timed out) while reading response header from upstream, client: {ip}, server: {domain}, request: "GET {path} HTTP/1.1", upstream: "http://{ip}:{int}{path}", host: "{domain}"
20 ~ warn ~  ~ a client request body is buffered to a temporary file {path}, client: {ip}, server: {domain}, request: "POST {path} HTTP/1.1", host: "{domain}"
10 ~ crit ~  ~ SSL_do_handshake() failed (SSL: error:{id}:SSL routines::bad key share) while SSL handshaking, client: {ip}, server: 0.0.0.0:443
10 ~ error ~  ~ access forbidden by rule, client: {ip}, server: {domain}, request: "GET {path} HTTP/1.1", host: "{domain}"
8 ~ info ~  ~ client {ip} closed keepalive connection
5 ~ error ~  ~ limiting requests, excess: {float} by zone "{word}", client: {ip}, server: {domain}, request: "GET {path} HTTP/1.1", host: "{domain}"
""",
    "dns": """
50 ~ info ~ queries ~ client @{hex} {ip}#{int} ({domain}): query: {domain} IN A +E(0)K ({ip})
30 ~ info ~ queries ~ client @{hex} {ip}#{int} ({domain}): query: {domain} IN AAAA + ({ip})
20 ~ info ~ lame-servers ~ connection refused resolving '{domain}/A/IN': {ip}#53
20 ~ info ~ lame-servers ~ timed out resolving '{domain}/NS/IN': {ip}#53
10 ~ info ~ general ~ zone {domain}/IN: loaded serial {int}
10 ~ info ~ xfer-in ~ transfer of '{domain}/IN' from {ip}#53: Transfer completed: {int} messages, {int} records, {int} bytes, {float} secs ({int} bytes/sec)
10 ~ error ~ security ~ client @{hex} {ip}#{int} ({domain}): query (cache) '{domain}/A/IN' denied
8 ~ warning ~ dnssec ~ validating {domain}/A: no valid signature found
5 ~ error ~ general ~ zone {domain}/IN: loading from master file {path} failed: file not found
""",
    "search": """
40 ~ INFO ~ o.e.c.m.CreateIndexService ~ [{word}-2026.03.{int}] creating index, cause [auto(bulk api)], templates [{word}], shards [{small}]/[{small}]
30 ~ INFO ~ o.e.c.r.a.AllocationService ~ Cluster health status changed from [YELLOW] to [GREEN] (reason: [shards started [[{word}-{int}][{small}]]]).
20 ~ WARN ~ o.e.m.j.JvmGcMonitorService ~ [gc][{int}] overhead, spent [{dur}] collecting in the last [{dur}]
20 ~ INFO ~ o.e.m.j.JvmGcMonitorService ~ [gc][young][{int}][{int}] duration [{dur}], collections [{small}]/[{dur}], total [{dur}]/[{dur}], memory [{size}]->[{size}]/[{size}]
20 ~ WARN ~ o.e.c.r.a.DiskThreshold ~ high disk watermark [90%] exceeded on [{base}][{short}][{path}] free: {int}gb[{float}%], shards will be relocated away from this node
10 ~ INFO ~ o.e.c.s.MasterService ~ node-join[{{{short}}}{{{base}}}{{{ip}}}{{{ip}:9300}} join existing leader], term: {int}, version: {int}
10 ~ WARN ~ o.e.t.TcpTransport ~ exception caught on transport layer [Netty4TcpChannel{{localAddress=/{ip}:{int}, remoteAddress=/{ip}:{int}}}], closing connection
8 ~ ERROR ~ o.e.x.s.SecurityService ~ Authentication of [{user}] was terminated by realm [{word}] - failed to authenticate user
6 ~ INFO ~ o.e.s.SnapshotsService ~ snapshot [{word}:{word}-{int}/{base}] completed with state [SUCCESS]
""",
    "pbx": """
40 ~ NOTICE ~ chan_sip.c ~ Call from '{user}' ({ip}:{int}) to extension '{int}' rejected because extension not found in context 'default'.
40 ~ NOTICE ~ chan_sip.c ~ Registration from '"{int}" <sip:{int}@{ip}>' failed for '{ip}:{int}' - Wrong password
20 ~ VERBOSE ~ pbx.c ~ Executing [{int}@from-internal:{small}] Dial("SIP/{int}-{id}", "SIP/{word}/{int},300") in new stack
20 ~ VERBOSE ~ app_dial.c ~ SIP/{int}-{id} is ringing
20 ~ VERBOSE ~ app_dial.c ~ SIP/{int}-{id} answered SIP/{int}-{id}
10 ~ WARNING ~ res_rtp.c ~ RTP Read too short
10 ~ WARNING ~ chan_sip.c ~ Retransmission timeout reached on transmission {id}@{ip} for seqno {int} (Critical Response)
8 ~ ERROR ~ db.c ~ Unable to open database {path}: {word} locked
5 ~ NOTICE ~ chan_sip.c ~ Peer '{int}' is now Reachable. ({int}ms / {int}ms)
5 ~ NOTICE ~ chan_sip.c ~ Peer '{int}' is now UNREACHABLE!  Last qualify: {int}
""",
    "pylog": """
40 ~ INFO ~ worker ~ Task {word}.tasks.{word}[{uuid}] received
40 ~ INFO ~ worker ~ Task {word}.tasks.{word}[{uuid}] succeeded in {float}s: None
10 ~ ERROR ~ worker ~ Task {word}.tasks.{word}[{uuid}] raised unexpected: ValueError('bad value {int}')
20 ~ DEBUG ~ http ~ Starting new HTTPS connection ({small}): {host}:443
20 ~ DEBUG ~ http ~ https://{host}:443 "POST /{word}/{int} HTTP/1.1" 201 {int}
20 ~ INFO ~ importer ~ Imported {int} rows from {file} into {table}
10 ~ WARNING ~ importer ~ Row {int} of {file} skipped: missing column '{word}'
10 ~ INFO ~ importer ~ Nothing to do for {label}
8 ~ CRITICAL ~ main ~ Configuration file {path} cannot be parsed: line {int}
5 ~ INFO ~ main ~ Shutting down, waiting for {small} threads
""",
    "monitor": """
40 ~  ~  ~ item "{short}:{word}.{word}[{path}]" became not supported: Cannot obtain filesystem information: [{small}] No such file or directory
20 ~  ~  ~ item "{short}:{word}.{word}[{path}]" became supported
20 ~  ~  ~ slow query: {float} sec, "select itemid,lastlogsize from items where hostid={int}"
20 ~  ~  ~ SNMP agent item "{word}" on host "{short}" failed: first network error, wait for {int} seconds
20 ~  ~  ~ resuming SNMP agent checks on host "{short}": connection restored
20 ~  ~  ~ executing housekeeper
20 ~  ~  ~ housekeeper [deleted {int} hist/trends, {int} items/triggers, {int} events, {int} problems in {float} sec, idle for 1 hour(s)]
10 ~  ~  ~ cannot send list of active checks to "{ip}": host [{short}] not found
6 ~  ~  ~ temporarily disabling SNMP agent checks on host "{short}": interface unavailable
""",
    "appserver": """
40 ~ O ~ SystemOut ~ Order {int} processed for {user}
20 ~ I ~ ApplicationMg ~ WSVR0221I: Application started: {word}App
20 ~ W ~ ConnectionPoo ~ J2CA0045E: Connection not available while invoking method {word} for resource jdbc/{word}.
20 ~ W ~ ThreadMonitor ~ WSVR0605W: Thread "WebContainer : {int}" ({id}) has been active for {int} milliseconds and may be hung.  There is/are {small} thread(s) in total in the server that may be hung.
20 ~ W ~ ThreadMonitor ~ WSVR0606W: Thread "WebContainer : {int}" ({id}) was previously reported to be hung but has completed.  It was active for approximately {int} milliseconds.
10 ~ E ~ webapp ~ SRVE0260E: The server cannot use the error page specified for your application to handle the original exception: {path}
10 ~ A ~ SSLHandshakeE ~ SSLC0008E: Unable to initialize SSL connection.  Unauthorized access was denied or security settings have expired. Remote {ip}:{int}
5 ~ I ~ ServerCollabo ~ WSVR0001I: Server {word} open for e-business
""",
    "bare": """
40 ~  ~  ~ Listening on {ip}:{int}
30 ~  ~  ~ worker {int}: fetched {url} ({int} bytes)
20 ~  ~  ~ worker {int}: giving up on {url} after {small} tries
20 ~  ~  ~ retrying in {dur}
20 ~  ~  ~ ERROR: cannot read {path}: permission denied
20 ~  ~  ~ WARNING: clock skew of {dur} detected against {host}
10 ~  ~  ~ loaded {int} rules from {path}
10 ~  ~  ~ {user} joined channel #{word}
10 ~  ~  ~ {user} left channel #{word} (Ping timeout: {int} seconds)
5 ~  ~  ~ bye
""",
    "dmesg": """
30 ~  ~  ~ usb {small}-{small}: new high-speed USB device number {int} using xhci_hcd
30 ~  ~  ~ usb {small}-{small}: USB disconnect, device number {int}
20 ~  ~  ~ {nic}: link is up at {int} Mbps, full duplex
20 ~  ~  ~ {nic}: link is down
20 ~  ~  ~ EXT4-fs (sda{small}): mounted filesystem {uuid} r/w with ordered data mode. Quota mode: none.
20 ~  ~  ~ audit: type={int} audit({float}:{int}): apparmor="DENIED" operation="open" profile="{path}" name="{path}" pid={int} comm="{word}"
10 ~  ~  ~ Out of memory: Killed process {int} ({app}) total-vm:{int}kB, anon-rss:{int}kB, file-rss:{int}kB, shmem-rss:{int}kB, UID:{int} pgtables:{int}kB oom_score_adj:{small}
10 ~  ~  ~ mce: [Hardware Error]: Machine check events logged
10 ~  ~  ~ {app}[{int}]: segfault at {hex} ip {id} sp {id} error {small} in lib{word}.so[{id}+{id}]
8 ~  ~  ~ nvme nvme{small}: I/O {int} QID {small} timeout, aborting
5 ~  ~  ~ CPU{int}: Core temperature above threshold, cpu clock throttled (total events = {int})
""",
    "handset": """
40 ~ D ~ Camera ~ startPreview size {int}x{int} fps {small}
30 ~ I ~ ActManager ~ Displayed com.acme.{word}/.{class}: +{int}ms
30 ~ D ~ Wifi ~ scan finished with {int} results in {int} ms
20 ~ W ~ InputQueue ~ dispatch to window {id} took {int}ms (timeout {int})
20 ~ I ~ ActManager ~ Killing {int}:com.acme.{word}/u0a{int} (adj {int}): empty #{int}
20 ~ I ~ Battery ~ level:{int} scale:100 status:{small} health:{small} voltage:{int} temperature:{int}
10 ~ E ~ Camera ~ cannot open device {small}: busy
10 ~ W ~ Wifi ~ association with {mac} rejected, code {int}
5 ~ E ~ Runtime ~ FATAL EXCEPTION: {word}-thread-{int}
5 ~ D ~ Camera ~ stopPreview
""",
}  # fmt: skip

SYSTEMS: Final = tuple(_KINDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """Raw lines, the message of each without its header, and the template that each was made from."""

    lines: tuple[bytes, ...]
    messages: tuple[bytes, ...]
    templates: tuple[str, ...]


def generate(system: str, *, lines: int = LINES) -> Generated:
    """Make the lines of one of the `SYSTEMS`."""
    rows = [tuple(cell for cell in row.split(" ~ ", 3)) for row in _KINDS[system].strip("\n").split("\n")]
    rng = random.Random(f"{system} {_SEED}")
    raw, messages, templates = [], [], []
    for step, (_, level, program, template) in enumerate(rng.choices(rows, [int(row[0]) for row in rows], k=lines)):
        # A level or program that is absent is an empty cell; a scheduler writes its level as a word of the message.
        head = Head(
            rng=rng,
            step=step,
            level=level.strip() and level + (" " if level.endswith(":") else ""),
            program=program.strip(),
        )
        message = _HOLE.sub(lambda hole: _fill(hole[1], rng), template.replace("{{", "\0").replace("}}", "\1"))
        message = message.replace("\0", "{").replace("\1", "}")
        raw.append((_HEADERS[system](head) + message).encode())
        messages.append(message.encode())
        templates.append(template)
    return Generated(lines=tuple(raw), messages=tuple(messages), templates=tuple(templates))
