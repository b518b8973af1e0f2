"""Every key of the configuration file: its default, what it means to an operator, and how it is checked.

The example file, `init` and the checking all come from this one table.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from inbox_server.clock import DAY_SECONDS
from inbox_server.config import values
from inbox_server.config.postgres_url import cluster_url, postgres_url


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the file. `parse` gets the TOML value and the directory of the file; it raises ValueError."""

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
        "The origin that apps use, exactly as it is written on people's inbox cards. Every token must name it as\n"
        "its audience, so change it only when you mean to move the server. There is no default.",
        values.origin,
        required=True,
    ),
    Key(
        "server.listen",
        "listen",
        '"127.0.0.1:8710"',
        "Where to listen: host:port or unix:/path. Put a TLS proxy in front (docs/install.md).",
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
        "This server does not speak TLS. If a TLS proxy is in front of it, set this to true to listen on addresses\n"
        "other than loopback and Unix sockets.",
        values.flag,
    ),
    Key(
        "server.proxy_header",
        "proxy_header",
        '""',
        'The header in which that proxy *sets* the client\'s address, such as "X-Real-IP", for the limit by network.\n'
        "It is believed only from loopback and from Unix sockets. If empty, no header is believed.",
        values.header,
    ),
    Key(
        "server.hosts",
        "hosts",
        "[]",
        "Host headers to answer to, besides the one of public_url and the numeric address that the server listens on.",
        lambda value, base: frozenset(values.each(values.host)(value, base)),
    ),
    Key(
        "server.admin_hosts",
        "admin_hosts",
        "[]",
        'Names by which others reach admin_listen, at any port, such as "inbox-server" for Prometheus in another\n'
        "container. Numeric addresses and localhost always work.",
        lambda value, base: frozenset(values.each(values.host_without_port)(value, base)),
    ),
    Key(
        "server.processes",
        "processes",
        "1",
        "How many server processes run on this host. More than one needs PostgreSQL (docs/postgresql.md).",
        values.between(1, 64),
    ),
    Key(
        "server.data_dir",
        "data_dir",
        '"data"',
        "The directory of the database. Relative paths are relative to this file.",
        values.path,
    ),
    Key(
        "server.secret_file",
        "secret_file",
        '"secret"',
        "The secret under which addresses are hashed: 64 hex characters, mode 0600, outside the data directory, with\n"
        "one more line for each `inbox-server rotate-secret`.\n"
        "A systemd credential named `inbox-secret` takes its place. Without the secret the database is useless, so\n"
        "keep a copy of the secret, but not in the same place as the database.",
        values.path,
    ),
    Key(
        "store.url",
        "store_url",
        '""',
        'The database. "" is SQLite in server.data_dir. For several hosts it is PostgreSQL (docs/postgresql.md), such\n'
        'as "postgresql://inbox@db1,db2:5433/inbox?sslmode=verify-full&sslrootcert=/etc/inbox-server/db-ca.pem".\n'
        "It must not hold the password.",
        postgres_url,
    ),
    Key(
        "store.urls",
        "store_urls",
        "[]",
        "Several PostgreSQL clusters in place of store.url, each with a part of the inboxes (docs/postgresql.md,\n"
        "Shards). The first one must stay first.",
        values.each(cluster_url),
    ),
    Key(
        "store.password_file",
        "store_password_file",
        '""',
        "The file of PostgreSQL's password, mode 0600. A systemd credential named `inbox-database-password` takes its\n"
        "place. Leave it empty where PostgreSQL asks for none.",
        values.optional_path,
    ),
    Key(
        "store.connections",
        "store_connections",
        "8",
        "How many connections each server process has to PostgreSQL: three for its own work, and the rest to read and\n"
        "write. More help where the database is far away, or reads from its disk. PostgreSQL's max_connections must\n"
        "be enough for all processes.",
        values.between(6, 64),
    ),
    Key(
        "store.day_keys_file",
        "store_day_keys_file",
        '""',
        "The file of the keys under which texts in PostgreSQL are sealed. Each host has it, and the server writes it\n"
        'over each day, so it must be able to. "" is `day-keys` in server.data_dir.',
        values.optional_path,
    ),
    Key(
        "names.services",
        "name_services",
        '["https://api.hiro.so"]',
        "Name services that have the Stacks API's /v1/names; if one fails, the next is asked. They are trusted to\n"
        "say who owns a name. With [], only the static names are known.",
        values.each(values.service),
    ),
    Key(
        "names.agreement",
        "agreement",
        "false",
        "Ask all of them, and accept an owner only if all agree.",
        values.flag,
    ),
    Key(
        "names.static",
        "static",
        "[]",
        "Names that you vouch for yourself, without any look-up:\n"
        '[{ name = "bob.id", app = "https://chat.example", key = "<app public key, 66 hex>" }]',
        values.each(values.static),
    ),
    Key(
        "registration.mode",
        "registration",
        '"listed"',
        "Who may claim an inbox: listed (below), invite (`inbox-server invite new`) or open.",
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
        "For open: also accept keys without a proven name. Anyone can make keys for free.",
        values.flag,
    ),
    Key(
        "registration.open_per_hour",
        "open_per_hour",
        "60",
        "For open: the maximum number of new inboxes an hour.",
        values.between(1, 1_000_000),
    ),
    Key(
        "registration.max_inboxes",
        "max_inboxes",
        "10000",
        "For invite and open: the maximum number of inboxes.",
        values.between(1, 100_000_000),
    ),
    Key(
        "limits.default_retention_seconds",
        "default_retention_seconds",
        str(30 * DAY_SECONDS),
        "How long an unread entry is kept if the owner has not chosen a time: 30 days.",
        values.between(3600, 3650 * DAY_SECONDS),
    ),
    Key(
        "limits.max_retention_seconds",
        "max_retention_seconds",
        str(90 * DAY_SECONDS),
        "The longest time that an owner may choose to keep unread entries: 90 days.",
        values.between(3600, 3650 * DAY_SECONDS),
    ),
    Key(
        "limits.inbox_entries",
        "inbox_entries",
        "10000",
        "The maximum number of unread entries in one inbox. A full inbox refuses and says so; nothing is evicted.",
        values.between(1, 10_000_000),
    ),
    Key(
        "limits.inbox_bytes",
        "inbox_bytes",
        str(8 * 1024 * 1024),
        "The maximum size of the unread entries in one inbox, in bytes.",
        values.between(1024, 1 << 40),
    ),
    Key(
        "limits.inbox_read_entries",
        "inbox_read_entries",
        "50000",
        "The maximum number of read entries that one inbox remembers by their hash, at 264 bytes each on disk. The\n"
        "oldest are forgotten first; if one of them is delivered again after that, it is listed again.",
        values.between(1000, 100_000_000),
    ),
    Key(
        "limits.list_entries",
        "list_entries",
        "1000",
        "The maximum number of addresses on one inbox's contact list, and on its block list.",
        values.between(0, 1500),  # one request of 64 KiB carries this many
    ),
    Key(
        "limits.sender_per_hour",
        "sender_per_hour",
        "600",
        "The maximum number of deliveries an hour from one sender to one inbox; 0 means no limit. This and the next\n"
        "two are counted in memory, under a salt that changes every hour.",
        values.between(0, 1_000_000_000),
    ),
    Key(
        "limits.inbox_per_hour",
        "inbox_per_hour",
        "6000",
        "The maximum number of deliveries an hour to one inbox.",
        values.between(0, 1_000_000_000),
    ),
    Key(
        "limits.network_per_hour",
        "network_per_hour",
        "20000",
        "The maximum number of deliveries an hour from one network (an IPv4 address or an IPv6 /64), if it is known.",
        values.between(0, 1_000_000_000),
    ),
    Key(
        "notify.pause_seconds",
        "hint_pause_seconds",
        "30",
        "Push notifications tell owners' browsers that something waits, at most once in this many seconds for each\n"
        "inbox. A notification says nothing else, and may be lost.",
        values.between(1, 86_400),
    ),
    Key(
        "notify.jitter_seconds",
        "hint_jitter_seconds",
        "5",
        "Each notification is delayed by a random time of up to this many seconds, so that push services learn less\n"
        "about when deliveries came. 0 sends it at once.",
        values.between(0, 86_400),
    ),
    Key(
        "notify.webhook_url",
        "webhook_url",
        '""',
        "A URL of yours that gets a POST when something arrives for any inbox here; it is trusted as written. For a\n"
        'server of your own, with ntfy: "https://ntfy.sh/<a topic that nobody guesses>". "" turns it off.',
        values.optional_url,
    ),
    Key(
        "notify.webhook_authorization",
        "webhook_authorization",
        '""',
        'The Authorization header for that POST, such as "Bearer tk_…". If you set it, make this file private;\n'
        "or leave it empty, and use a systemd credential named `inbox-webhook-authorization`.",
        values.credentials,
    ),
    Key(
        "notify.matrix.homeserver",
        "matrix_homeserver",
        '""',
        "The home server of a Matrix bot of yours, which notifies owners in a chat (docs/notifications.md), such as\n"
        '"https://matrix.example" or "http://127.0.0.1:8008". It is trusted as written. "" turns it off.',
        values.optional_service,
    ),
    Key(
        "notify.matrix.user_id",
        "matrix_user_id",
        '""',
        'The bot\'s own ID, such as "@inbox:matrix.example". Owners see it in the capability document.',
        values.optional_user_id,
    ),
    Key(
        "notify.matrix.token_file",
        "matrix_token_file",
        '"matrix-token"',
        "The file of the bot's access token, mode 0600. A systemd credential named `inbox-matrix-token` takes its\n"
        "place.",
        values.path,
    ),
    Key(
        "outgoing.allow",
        "outgoing_allow",
        "[]",
        "Origins to which the guard does not apply that keeps strangers' URLs away from internal addresses, for\n"
        "profiles, buckets and push. Use it only for tests on your own machine.",
        lambda value, base: frozenset(values.each(values.origin)(value, base)),
    ),
    Key(
        "outgoing.nat64",
        "outgoing_nat64",
        "[]",
        'For a network with IPv6 only: the prefixes behind which its NAT64 reaches IPv4, such as ["64:ff9b::/96"]. An\n'
        "address with one of them is judged by the IPv4 address inside.",
        values.each(values.nat64_prefix),
    ),
)
