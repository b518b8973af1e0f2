"""Every key of the configuration file: its default, what it means to an operator, and how it is checked.

The example file, `init` and the checking all come from this one table.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from inbox_server.clock import DAY_SECONDS
from inbox_server.config import values


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the file. `parse` gets what TOML gave and the directory of the file; it raises ValueError."""

    path: str
    field: str
    default: str
    """As written in the example file, in TOML."""
    comment: str
    parse: Callable[[Any, Path], Any]
    required: bool = False


KEYS: Final[tuple[Key, ...]] = (
    Key(
        "server.public_url",
        "public_url",
        '"https://inbox.example"',
        "The origin that apps use, exactly as it stands on people's inbox cards. Every token must name it as\n"
        "its audience, so change it only when you mean to move. No default.",
        values.origin,
        required=True,
    ),
    Key(
        "server.listen",
        "listen",
        '"127.0.0.1:8710"',
        "Where to listen: host:port, or unix:/path. Put a TLS proxy in front (docs/operations.md).",
        values.listen,
    ),
    Key(
        "server.admin_listen",
        "admin_listen",
        '"127.0.0.1:8711"',
        'Where /health, /ready and /metrics answer. Never expose it. "" turns it off.',
        values.optional_listen,
    ),
    Key(
        "server.behind_proxy",
        "behind_proxy",
        "false",
        "This server speaks no TLS. Set this to true, with a TLS proxy in front, to listen on other than loopback\n"
        "or a Unix socket.",
        values.flag,
    ),
    Key(
        "server.proxy_header",
        "proxy_header",
        '""',
        'The header in which that proxy *sets* the client\'s address, such as "X-Real-IP", for the limit by network.\n'
        "It is believed only from loopback and from Unix sockets. Empty: no address is taken from any header.",
        values.header,
    ),
    Key(
        "server.hosts",
        "hosts",
        "[]",
        "Host headers to answer to beside public_url's and the numeric address that is listened on.",
        lambda value, base: frozenset(values.each(values.host)(value, base)),
    ),
    Key(
        "server.admin_hosts",
        "admin_hosts",
        "[]",
        'Names by which others reach admin_listen, such as "inbox-server" for a Prometheus in another container, at\n'
        "any port. It answers to numeric addresses and localhost in any case.",
        lambda value, base: frozenset(values.each(values.host_without_port)(value, base)),
    ),
    Key(
        "server.data_dir",
        "data_dir",
        '"data"',
        "Where the database lives. Relative paths are relative to this file.",
        values.path,
    ),
    Key(
        "server.secret_file",
        "secret_file",
        '"secret"',
        "The secret under which addresses are hashed: 64 hex characters, mode 0600, outside the data directory.\n"
        "A systemd credential named `inbox-secret` takes its place. Without it the database is of no use, so keep\n"
        "a copy in another place than the database's.",
        values.path,
    ),
    Key(
        "names.services",
        "name_services",
        '["https://api.hiro.so"]',
        "Name services with the Stacks API's /v1/names, tried in this order when one fails. [] uses no names\n"
        "but the static ones. They are trusted to say who owns a name.",
        values.each(values.service),
    ),
    Key(
        "names.agreement",
        "agreement",
        "false",
        "Ask all of them and take an owner only when all agree.",
        values.flag,
    ),
    Key(
        "names.static",
        "static",
        "[]",
        "Names that you vouch for, without any look-up:\n"
        '[{ name = "bob.id", app = "https://chat.example", key = "<app public key, 66 hex>" }]',
        values.each(values.static),
    ),
    Key(
        "registration.mode",
        "registration",
        '"listed"',
        "Who may claim an inbox: listed (below), invite (`inbox-server invite new`), open.",
        values.mode,
    ),
    Key(
        "registration.listed",
        "listed",
        "[]",
        "For listed: names, app public keys or app addresses. A name covers all its apps unless `apps` is given:\n"
        '["bob.id", { identity = "carol.id", apps = ["https://chat.example"] }]',
        values.each(values.listed),
    ),
    Key(
        "registration.open_to_keys",
        "open_to_keys",
        "false",
        "For open: also take keys without a proven name. A key costs nothing to make.",
        values.flag,
    ),
    Key(
        "registration.open_per_hour",
        "open_per_hour",
        "60",
        "For open: new inboxes an hour at most.",
        values.between(1, 1_000_000),
    ),
    Key(
        "registration.max_inboxes",
        "max_inboxes",
        "10000",
        "For invite and open: inboxes at most.",
        values.between(1, 100_000_000),
    ),
    Key(
        "limits.default_retention_seconds",
        "default_retention_seconds",
        str(30 * DAY_SECONDS),
        "How long an unread entry is kept when its owner chose nothing: 30 days.",
        values.between(3600, 3650 * DAY_SECONDS),
    ),
    Key(
        "limits.max_retention_seconds",
        "max_retention_seconds",
        str(90 * DAY_SECONDS),
        "How long an owner may choose to keep unread entries: 90 days.",
        values.between(3600, 3650 * DAY_SECONDS),
    ),
    Key(
        "limits.inbox_entries",
        "inbox_entries",
        "10000",
        "Unread entries in one inbox at most. A full inbox refuses and tells; nothing is evicted.",
        values.between(1, 10_000_000),
    ),
    Key(
        "limits.inbox_bytes",
        "inbox_bytes",
        str(8 * 1024 * 1024),
        "Bytes of unread entries in one inbox at most.",
        values.between(1024, 1 << 40),
    ),
    Key(
        "limits.inbox_read_entries",
        "inbox_read_entries",
        "50000",
        "Entries of one inbox that were read and are remembered by their hash, at most: 264 bytes each on disk. The\n"
        "oldest are forgotten first; what is delivered again after that is listed again.",
        values.between(1000, 100_000_000),
    ),
    Key(
        "limits.list_entries",
        "list_entries",
        "1000",
        "Addresses on one inbox's contact list, and on its block list, at most.",
        values.between(0, 1500),  # one request of 64 KiB carries this many
    ),
    Key(
        "limits.sender_per_hour",
        "sender_per_hour",
        "600",
        "Deliveries from one sender to one inbox in an hour at most; 0 is no limit. Counted in memory, under a salt\n"
        "that changes each hour, as are the next two.",
        values.between(0, 1_000_000_000),
    ),
    Key(
        "limits.inbox_per_hour",
        "inbox_per_hour",
        "6000",
        "Deliveries to one inbox in an hour at most.",
        values.between(0, 1_000_000_000),
    ),
    Key(
        "limits.network_per_hour",
        "network_per_hour",
        "20000",
        "Deliveries from one network (an IPv4 address, an IPv6 /64) in an hour at most, where its address is known.",
        values.between(0, 1_000_000_000),
    ),
    Key(
        "notify.pause_seconds",
        "hint_pause_seconds",
        "30",
        "Owners' browsers can be told by push that something waits: at most once in so many seconds for an inbox.\n"
        "A notification says nothing else, and may be lost.",
        values.between(1, 86_400),
    ),
    Key(
        "notify.jitter_seconds",
        "hint_jitter_seconds",
        "5",
        "Each notification is sent up to so many seconds later, at random, so that push services know less about when\n"
        "deliveries came. 0 sends at once.",
        values.between(0, 86_400),
    ),
    Key(
        "notify.webhook_url",
        "webhook_url",
        '""',
        "A URL of yours that is told, by a POST, when something comes for any inbox here; it is trusted as written.\n"
        'Made for a server of one\'s own and for ntfy: "https://ntfy.sh/<a topic that nobody guesses>". "" is none.',
        values.optional_url,
    ),
    Key(
        "notify.webhook_authorization",
        "webhook_authorization",
        '""',
        'The Authorization header sent there, such as "Bearer tk_…". Then let nobody else read this file;\n'
        "or leave it empty, and give it as a systemd credential named `inbox-webhook-authorization`.",
        values.credentials,
    ),
    Key(
        "outgoing.allow",
        "outgoing_allow",
        "[]",
        "Origins that profiles and buckets may be fetched from, and notifications pushed to, without the guard that\n"
        "keeps strangers' URLs away from internal addresses. For local worlds only.",
        lambda value, base: frozenset(values.each(values.origin)(value, base)),
    ),
)
