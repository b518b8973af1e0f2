"""Who may import whom. A file imports only from rows above its own; libraries have few doors."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "inbox_server"

# Each row may import from the rows above it, never from its own.
ROWS = (
    ("", "errors", "clock", "base64url", "strict", "addresses", "recent", "unix_socket"),
    ("keys", "blind", "guard", "budget", "metrics", "hints.contract", "hints.sealing", "hints.vapid"),
    ("identities", "wakes", "dialling"),
    ("config", "store.contract", "store.files", "resolver.contract", "rates", "hints.hints"),
    (
        "peer",
        "fetch",
        "tokens",
        "bodies",
        "secret",
        "config_values",
        "store.database",
        "store.slots",
        "resolver.zonefile",
        "resolver.keyfile",
        "resolver.profile",
    ),
    (
        "pages",
        "config_keys",
        "store.expiry",
        "store.groups",
        "store.health",
        "store.door",
        "store.standings",
        "resolver.service",
        "hints.webpush",
        "hints.webhook",
    ),
    ("store.settings", "store.reader", "store.writer"),
    ("store.feed", "store.push"),
    ("config_file", "store.sqlite", "resolver.chain"),
    ("store.opening", "resolver.cache"),
    ("store.backup", "store.inspecting"),
    ("following", "capabilities"),
    ("delivery", "reading", "owning", "pushing"),
    ("web",),
    ("admin", "listening"),
    ("server", "process"),
    ("client.appkey", "client.events", "client.keeping", "client.sessions"),
    ("client.ecies", "client.bucket", "client.profile", "client.outbox"),
    ("client.protocol",),
    ("client.inbox", "client.reports"),
    ("client.user",),
    ("client.account",),
    ("client.own_card",),
    ("client.sending", "client.reading", "client.owning"),
    ("client.carrying", "client.watching"),
    ("client.moving",),
    ("client.client",),
    ("client.opening",),
    ("world.cors", "world.refusals", "world.faults", "world.hub_rules"),
    ("world.names", "world.hub"),
    ("world.hub_tokens", "world.hub_reader"),
    ("world.hub_http",),
    ("world.people",),
    ("world.local",),
    ("world.evidence",),
    ("world.demo", "world.page"),
    ("checks.findings",),
    ("checks.failures",),
    ("checks.asking",),
    ("checks.capability", "checks.streams"),
    ("checks.answers", "checks.deployment", "checks.liveness"),
    ("checks.round_trip", "checks.names"),
    ("checks.outside", "checks.inside"),
    ("commands.terminal",),
    ("commands.client_profile",),
    ("commands.client_setup", "commands.client_messages", "commands.client_move"),
    ("commands.client_watch",),
    ("commands.client",),
    ("commands.findings",),
    (
        "commands.init",
        "commands.invite",
        "commands.local",
        "commands.serve",
        "commands.backup",
        "commands.ping",
        "commands.doctor",
    ),
    ("cli",),
    ("__main__",),
)

# What only the named files may import: each library has its doors, and only the assembly names concrete parts.
DOORS = {
    "aiohttp": (
        "dialling",
        "fetch",
        "web",
        "admin",
        "listening",
        "server",
        "client.",
        "world.",
        "checks.",
        "commands.client_setup",
    ),
    "aiosqlite": ("store.database",),
    "coincurve": ("keys", "client.appkey"),
    "cryptography": ("resolver.profile", "hints.sealing", "hints.vapid", "client.", "world.hub_tokens"),
    "http_ece": ("hints.webpush",),
    "prometheus_client": ("metrics",),
    "jwt": ("resolver.profile", "hints.vapid", "world.hub_tokens"),
    "sqlite3": ("store.", "world.evidence"),
    "inbox_server.store.sqlite": ("store.opening", "server"),
    "inbox_server.store.opening": (
        "server",
        "store.backup",
        "store.inspecting",
        "checks.",
        "commands.",
        "world.evidence",
    ),
    "inbox_server.resolver.chain": ("server", "client.user", "client.opening", "world.local", "checks.names"),
    "inbox_server.resolver.cache": ("server",),
    "inbox_server.hints.hints": ("server",),
    "inbox_server.hints.webhook": ("server",),
    "inbox_server.hints.webpush": ("server",),
    "inbox_server.fetch": (
        "resolver.",
        "hints.webpush",
        "hints.webhook",
        "server",
        "client.user",
        "client.sessions",
        "client.opening",
        "world.local",
        "checks.",
    ),
}

# What both sides of the wire share; a client imports nothing else of the server.
SHARED = (
    "errors",
    "clock",
    "base64url",
    "strict",
    "addresses",
    "keys",
    "identities",
    "config",
    "guard",
    "dialling",
    "fetch",
    "resolver.",
)


def modules() -> dict[str, Path]:
    """Each module's name below the package, and its file. A folder's `__init__` holds no code."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[-1] != "__init__":
            found[".".join(parts)] = path
    return found


def imports_of(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module or ""


def below_package(module: str) -> str | None:
    """The name below the package, "" for the package itself, None for anybody else's module."""
    if module == "inbox_server":
        return ""
    return module.removeprefix("inbox_server.") if module.startswith("inbox_server.") else None


def offences(name: str, imports: Iterator[str]) -> list[str]:
    row_of = {module: index for index, row in enumerate(ROWS) for module in row}
    found = []
    for imported in imports:
        for guarded, doors in DOORS.items():
            is_guarded = imported == guarded or imported.startswith(guarded + ".")
            if is_guarded and not any(name == door or (door.endswith(".") and name.startswith(door)) for door in doors):
                found.append(f"{name} may not import {imported}")
        inside = below_package(imported)
        if inside is None:
            continue
        if row_of[inside] >= row_of[name]:
            found.append(f"{name} imports {inside}, which is not in a row above it")
        if name.startswith("client.") and not inside.startswith(("client.", *SHARED)):
            found.append(f"{name} imports {inside}, which is the server's")
    return found


def test_every_module_has_a_row() -> None:
    assert sorted(module for row in ROWS for module in row if module) == sorted(modules())


@pytest.mark.parametrize("name", sorted(modules()))
def test_a_module_imports_only_from_above(name: str) -> None:
    assert offences(name, imports_of(modules()[name])) == []


@pytest.mark.parametrize(
    ("name", "imported"),
    [
        ("tokens", "inbox_server.delivery"),
        ("delivery", "inbox_server.store.sqlite"),
        ("delivery", "aiohttp"),
        ("tokens", "coincurve"),
        ("web", "aiosqlite"),
        ("server", "inbox_server.world.local"),
        ("client.user", "inbox_server.tokens"),
    ],
)
def test_a_planted_violation_is_seen(name: str, imported: str) -> None:
    assert offences(name, iter([imported])) != []
