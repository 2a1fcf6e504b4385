"""Words that a log line may have where a name or a secret stands, and that name nobody and give nothing away.

Invariant: all are lower case. Here belongs what is the same on every host: accounts that systems ship with, words of
English that follow "user" or "for", states of a token. Never here: a name that a person could have.
"""

from __future__ import annotations

from typing import Final

SYSTEM_ACCOUNTS: Final = frozenset(
    """
    _apt abuse adm admin administrator administrators amavis anonymous apache avahi backup bin chrony clamav
    colord cups cyrus daemon dbus default defaultuser0 dnsmasq docker dovecot elasticsearch etcd everyone exim
    ftp games gdm geoclue git gnats grafana guest halt haproxy hdfs hostmaster httpd irc jenkins kafka kubelet
    lightdm list local localservice localsystem lp mail mailnull man memcached messagebus mongodb munin mysql
    named network networkservice nfsnobody nginx no-reply nobody nogroup none noreply ntp ntpd nul null operator
    oracle polkitd postfix postgres postmaster prometheus proxy public puppet rabbitmq redis root rpc rpcuser
    rtkit saned service shutdown smmsp sshd sssd staff statd sudo sync sys syslog system systemd systemd-network
    systemd-resolve systemd-timesync tcpdump tomcat tss unbound usbmux users uucp uuidd webmaster wheel www
    www-data yarn zabbix zookeeper
    """.split()  # noqa: SIM905 - hundreds of quotes would hide the words
)
"""Accounts of systems, not of persons: that it was root says much about an event and nothing about anyone."""

PROSE: Final = frozenset(
    """
    a about absent accepted access account accounts action actions activity add added after again agent agents
    all allowed already also an and any api app application approved are as at attempt attempts attribute
    authenticated authentication authorization auto be because been before being below between blocked but by
    bytes cache call called can cannot certificate change changed check class client clients closed cluster code
    com command commands completed config configuration connect connected connecting connection connections
    console container context control could count created creation credential credentials current data database
    debug defaults defined delete deleted denied device devices did directory disabled disk do does domain done
    dr dst due during each email empty enabled end entry error errors event events exceeded execution existing
    exists exited expected expired extension failed failure false feature field file files find first for found
    from full group groups had handler has have home host id ids if in incoming incorrect index info information
    initialized input install interface internal interrupt into invalid is it item its job jobs kernel key keys
    kind known last layer level limit line link load loaded location locked log logged logging login logins
    logon logout made manager many map maximum may member memory message messages method missing mode module
    more mr mrs ms multiple must name names nested new next no node nodes non not nothing now null number object
    of off ok old on one only open opened operation option options or other out output over own owner packet
    packets page parameter parsing part password passwords path permission peer permissions pid planned policy pool port
    preferences priv privilege process processes processing prof profile program protocol provided provider
    proxy query queue quota read received record registered registration rejected release remote remove removed
    rename reply request requested requests required reset resource resources response restart result results
    role roles root router rule running same scheduled schema script see select sent server servers service
    services session sessionid sessions set setting settings shell should signal signed since size slice socket some
    source space specified src ssh stack start started starting state status stop stopped storage store stream
    string success successful successfully system systems table target task tasks test that the their then there
    these they this thread threads timed timeout to token tokens too total transaction true try trying two type
    unable unauthorized unknown unlock unset until up update updated updates upload url usage use used user
    user-agent username users using valid value values version view volume waiting want wanted was watchdog we
    were when where which while who will with within without worker would write wrong yes you your zone
    """.split()  # noqa: SIM905 - hundreds of quotes would hide the words
)
"""What may follow "user", "for" or "by" and is no name."""

NAMELESS: Final = SYSTEM_ACCOUNTS | PROSE

SECRET_STATES: Final = frozenset(
    {
        "absent", "accepted", "bad", "basic", "bearer", "denied", "digest", "disabled", "empty", "enabled", "error",
        "expired", "failed", "false", "found", "invalid", "malformed", "mismatch", "missing", "negotiate", "new",
        "no", "none", "not", "ntlm", "null", "ok", "rejected", "required", "revoked", "set", "token", "true",
        "unknown", "unset", "valid", "wrong", "yes",
    }
)  # fmt: skip
"""Words that may follow "token:" in a message that says something about the token instead of showing it."""
