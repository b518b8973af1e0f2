"""Who may import whom: a folder imports only from folders below it, no circles, few users for each library."""

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "inbox_server"

# From the top down; each floor imports only from those listed below it. A file at the package's top is a floor too.
FLOORS = (
    "__main__",
    "cli",
    "commands",
    "conformance",
    "checks",
    "world",
    "client",
    "serving",
    "processes",
    "server",
    "http",
    "inboxes",
    "notify",
    "resolver",
    "protocol",
    "store.choosing",
    "store.sqlite",
    "store.postgres",
    "store",
    "config",
    "outgoing",
    "identity",
    "metrics",
    "lru",
    "host_memory",
    "clock_guard",
    "hardening",
    "systemd",
    "inbox_log",
    "clock",
    "synced_files",
    "errors",
    "",
)

# What only the named files and folders (with a dot at the end) may import. Only the assembly names concrete parts.
ALLOWED = {
    "aiohttp": (
        "outgoing.",
        "http.",
        "serving",
        "server",
        "client.",
        "world.",
        "checks.",
        "conformance.events",
        "commands.client_keygen",
    ),
    "aiosqlite": ("store.sqlite.database",),
    "asyncpg": ("store.postgres.",),
    "coincurve": ("identity.keys", "client.appkey"),
    "cryptography": (
        "identity.aes_layer",
        "store.postgres.sealing",
        "notify.cryptography_of_push",
        "client.",
        "world.hub_tokens",
    ),
    "http_ece": ("notify.cryptography_of_push",),
    "prometheus_client": ("metrics",),
    "jwt": ("notify.cryptography_of_push", "world.hub_tokens"),
    "sqlite3": ("store.sqlite.", "world.evidence", "world.cheating", "commands.versions"),
    "inbox_server.store.sqlite": (
        "store.sqlite.",
        "serving",
        "store.choosing",
        "checks.",
        "commands.",
        "world.evidence",
        "world.cheating",
    ),
    "inbox_server.store.sqlite.store": ("store.sqlite.opening",),
    "inbox_server.resolver.chain": (
        "server",
        "client.user",
        "client.open_client",
        "world.local_world",
        "checks.name_chain",
    ),
    "inbox_server.resolver.cache": ("server",),
    "inbox_server.notify.matrix": ("server", "checks.matrix"),
    "inbox_server.notify.owners": ("server",),
    "inbox_server.notify.owners_webhook": ("server",),
    "inbox_server.notify.schedule": ("server",),
    "inbox_server.notify.webhook": ("server",),
    "inbox_server.notify.webpush": ("server",),
    "inbox_server.outgoing.fetch": (
        "outgoing.",
        "resolver.",
        "notify.",
        "server",
        "client.user",
        "client.http_sessions",
        "client.open_client",
        "world.local_world",
        "checks.",
    ),
}

# What both sides of the wire share; a client imports nothing else of the server.
SHARED = (
    "errors",
    "clock",
    "synced_files",
    "protocol.base64url",
    "protocol.receipts",
    "protocol.signed",
    "protocol.strict_json",
    "inbox_log",
    "identity.",
    "config.config",
    "outgoing.",
    "resolver.",
)
# The conformance suite judges anybody's server, so it takes no rule and no number from ours.
OUTSIDE = {"client.": ("client.", *SHARED), "conformance.": ("conformance.", "checks.", "client.", *SHARED)}


def modules() -> dict[str, Path]:
    """Each module's name below the package, and its file."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts).removesuffix("__init__").removesuffix(".")] = path
    return found


MODULES = modules()


def imports_of(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            module = node.module or ""
            inside = below_package(module)
            for alias in node.names:
                is_module = inside is not None and f"{inside}.{alias.name}".lstrip(".") in MODULES
                yield f"{module}.{alias.name}" if is_module else module


def below_package(module: str) -> str | None:
    """The name below the package, "" for the package itself, None for anybody else's module."""
    if module == "inbox_server":
        return ""
    return module.removeprefix("inbox_server.") if module.startswith("inbox_server.") else None


def is_within(name: str, place: str) -> bool:
    return name == place.removesuffix(".") or (place.endswith(".") and name.startswith(place))


def floor_of(name: str) -> str:
    """The longest floor that a module lies on."""
    return max((floor for floor in FLOORS if name == floor or name.startswith(f"{floor}.")), key=len)


def offences(name: str, imports: Iterator[str]) -> list[str]:
    found = []
    for imported in imports:
        for guarded, users in ALLOWED.items():
            if is_within(imported, guarded + ".") and not any(is_within(name, user) for user in users):
                found.append(f"{name} may not import {imported}")
        inside = below_package(imported)
        if inside is None:
            continue
        own, other = floor_of(name), floor_of(inside)
        if own != other and FLOORS.index(other) <= FLOORS.index(own):
            found.append(f"{name} imports {inside}, which is not on a floor below it")
        for outside, allowed in OUTSIDE.items():
            if name.startswith(outside) and not any(is_within(inside, place) for place in allowed):
                found.append(f"{name} imports {inside}, which is the server's")
    return found


def test_the_architecture_page_shows_the_floors_in_their_order() -> None:
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text()
    picture = page.split("inbox_server/\n")[1].split("```")[0]
    names = [re.findall(r"(\w+)(?:\.py|/)(?:  |$)", line) for line in re.findall(r"^  (\w.*)$", picture, re.MULTILINE)]
    floors = [floor for floor in FLOORS if floor not in ("", "__main__") and "." not in floor]
    assert [name for line in names for name in line] == floors


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_imports_only_what_it_may(name: str) -> None:
    assert offences(name, imports_of(MODULES[name])) == []


def test_no_imports_go_in_circles() -> None:
    graph = {name: {below_package(imported) for imported in imports_of(path)} for name, path in MODULES.items()}
    TopologicalSorter({name: below - {None, ""} for name, below in graph.items()}).prepare()


def test_a_circle_is_seen() -> None:
    with pytest.raises(CycleError):
        TopologicalSorter({"a": {"b"}, "b": {"a"}}).prepare()


@pytest.mark.parametrize(
    ("name", "imported"),
    [
        ("protocol.tokens", "inbox_server.inboxes.deliver"),
        ("inboxes.deliver", "inbox_server.store.sqlite.store"),
        ("inboxes.deliver", "inbox_server.http.routes"),
        ("inboxes.deliver", "aiohttp"),
        ("protocol.tokens", "coincurve"),
        ("http.routes", "aiosqlite"),
        ("server", "inbox_server.world.local_world"),
        ("server", "inbox_server.store.sqlite.store"),
        ("client.user", "inbox_server.protocol.tokens"),
        ("conformance.bench", "inbox_server.protocol.tokens"),
    ],
)
def test_a_planted_violation_is_seen(name: str, imported: str) -> None:
    assert offences(name, iter([imported])) != []
