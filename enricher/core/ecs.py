"""Field names of the Elastic Common Schema that a named slot may be written under, with their types, as data.

Chosen from ECS 9 for what log lines hold; not the whole schema. Names under `event.`, `host.` and `log.`, and the keys
that every output record has, belong to the source and to enricher: no answer may set them.
"""

from __future__ import annotations

from typing import Final

from enricher.core.field_types import FieldType

# Field set, then its leaves; a leaf may hold dots, and has its type behind a colon unless that is a string.
_COMPACT: Final = """
agent: id name type version
client: address bytes:integer domain ip:ip mac nat.ip:ip nat.port:integer packets:integer port:integer registered_domain subdomain user.domain user.email user.id user.name
cloud: account.id account.name availability_zone instance.id instance.name machine.type project.id project.name provider region service.name
container: id image.name image.tag name runtime
destination: address bytes:integer domain ip:ip mac nat.ip:ip nat.port:integer packets:integer port:integer registered_domain subdomain user.domain user.id user.name
device: id manufacturer model.identifier model.name serial_number
dll: name path
dns: answers.data header_flags id op_code question.class question.name question.type resolved_ip:ip response_code type
email: cc.address from.address message_id sender.address subject to.address x_mailer
error: code id message stack_trace type
faas: coldstart:boolean execution id name trigger.type version
file: accessed:timestamp created:timestamp ctime:timestamp device directory drive_letter extension gid group hash.md5 hash.sha1 hash.sha256 hash.sha512 inode mime_type mode mtime:timestamp name owner path size:integer target_path type uid
group: domain id name
http: request.body.bytes:integer request.bytes:integer request.id request.method request.mime_type request.referrer response.body.bytes:integer response.bytes:integer response.mime_type response.status_code:integer version
network: application bytes:integer community_id direction forwarded_ip:ip iana_number inner.vlan.id name packets:integer protocol transport type vlan.id vlan.name
observer: egress.interface.name hostname ingress.interface.name ip:ip mac name os.name product serial_number type vendor version
orchestrator: api_version cluster.id cluster.name cluster.url cluster.version namespace organization resource.id resource.name resource.type type
organization: id name
os: family full kernel name platform type version
package: architecture build_version checksum description install_scope installed:timestamp license name path reference size:integer type version
process: args args_count:integer command_line end:timestamp entity_id entry_leader.pid:integer executable exit_code:integer group.id group.name hash.md5 hash.sha256 name parent.command_line parent.executable parent.name parent.pid:integer pgid:integer pid:integer real_user.id real_user.name start:timestamp thread.id:integer thread.name title tty.char_device.major:integer uptime:integer user.id user.name vpid:integer working_directory
registry: data.strings data.type hive key path value
related: hash hosts ip:ip user
rule: author category description id name reference ruleset uuid version
server: address bytes:integer domain ip:ip mac nat.ip:ip nat.port:integer packets:integer port:integer registered_domain subdomain user.domain user.id user.name
service: address environment ephemeral_id id name node.name node.role origin.name state target.name type version
source: address bytes:integer domain ip:ip mac nat.ip:ip nat.port:integer packets:integer port:integer registered_domain subdomain user.domain user.email user.id user.name
span: id
threat: framework group.id group.name indicator.ip:ip indicator.type software.name tactic.id tactic.name
tls: cipher client.certificate client.issuer client.ja3 client.server_name client.subject curve established:boolean next_protocol resumed:boolean server.certificate server.issuer server.ja3s server.subject version version_protocol
trace: id
transaction: id
url: domain extension fragment full original password path port:integer query registered_domain scheme subdomain top_level_domain username
user: changes.name domain effective.id effective.name email full_name group.id group.name hash id name risk.calculated_score:float risk.static_score:float roles target.id target.name
user_agent: device.name name original os.name os.version version
volume: bus_type device_name device_type mount_name nt_name size:integer vendor_name
vulnerability: category classification description enumeration id report_id score.base:float score.environmental:float score.temporal:float severity
x509: issuer.common_name issuer.distinguished_name not_after:timestamp not_before:timestamp serial_number subject.common_name subject.distinguished_name
"""  # noqa: E501 - one field set a line is the table's form


def _expanded(compact: str) -> dict[str, FieldType]:
    fields = {}
    for field_set, leaves in (row.split(": ", 1) for row in compact.strip().splitlines()):
        for leaf in leaves.split():
            name, _, kind = leaf.partition(":")
            fields[f"{field_set}.{name}"] = FieldType(kind or "string")
    return fields


FIELDS: Final = _expanded(_COMPACT)
"""Dotted ECS names that a slot may have to be written at the top of a record, each with the type of its value."""

RESERVED: Final = frozenset({"@timestamp", "message", "tags", "labels", "severity_number", "threat.technique.id"})
"""Single names that no slot may have, beside the prefixes."""

RESERVED_PREFIXES: Final = ("event.", "host.", "log.", "enrichment.", "ecs.", "threat.technique.")


def is_reserved(name: str) -> bool:
    """Say whether a slot may not have this name: it would overwrite what the source or enricher wrote."""
    return name in RESERVED or f"{name}.".startswith(RESERVED_PREFIXES)
