"""`inbox-server init`: a configuration and a secret for a real deployment, and a file for the proxy in front of it."""

import argparse
import json
import secrets
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from inbox_server.commands.proxy_files import HEADER, PROXIES
from inbox_server.commands.terminal import Commands, complain, tell
from inbox_server.config.config import BadConfig
from inbox_server.config.file import parse_config, render_config
from inbox_server.config.secret import write_secret
from inbox_server.identity.keyed_hash import SECRET_BYTES
from inbox_server.synced_files import make_folder, write_new_file

_EXAMPLE_URL: Final = "https://inbox.example"
_LISTEN: Final = "127.0.0.1:8710"  # the default of server.listen
_MODES: Final = ("listed", "invite", "open")
_SIGN_IN_NAME: Final = "database-password"
_EPILOG: Final = """
On a terminal, it asks for what you leave out: the URL, who may claim an inbox, and which proxy is in front. Enter takes
what is in brackets. Without a terminal it asks nothing, and says what is left to do.
"""


def add_init(commands: Commands) -> None:
    command = commands.add_parser(
        "init",
        help="write a configuration and a secret for a real deployment",
        description="Write a commented config.toml and a secret file (mode 0600), and with --proxy a file for the TLS"
        " proxy in front. Nothing is overwritten.",
        epilog=_EPILOG,
    )
    command.add_argument("folder", nargs="?", type=Path, default=Path(), help="where to write them (default: here)")
    command.add_argument(
        "--url", metavar="ORIGIN", help="the public origin of this server, such as https://inbox.example"
    )
    command.add_argument(
        "--registration", choices=_MODES, help="who may claim an inbox (default: listed, the identities of --listed)"
    )
    command.add_argument(
        "--listed",
        metavar="IDENTITY",
        action="append",
        default=[],
        help="a name, app public key or app address that may claim an inbox (repeatable)",
    )
    command.add_argument(
        "--proxy", choices=(*PROXIES, "none"), help="also write the site's file for this proxy, and believe its header"
    )
    command.add_argument(
        "--store", metavar="URL", help="a PostgreSQL database for several hosts (default: SQLite): docs/postgresql.md"
    )
    command.set_defaults(run=_init)


def _init(options: argparse.Namespace) -> int:
    _check(options)  # report errors before anything is asked or written
    try:
        if sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty():
            _ask_for_the_rest(options)
    except EOFError:
        complain("\nnothing was written")
        return 1
    folder: Path = options.folder
    proxies = [PROXIES[options.proxy]] if options.proxy in PROXIES else []
    if proxies and not (options.url or "").startswith("https://"):
        raise BadConfig([f"--proxy {options.proxy}: needs an https URL, which the proxy will serve"])
    paths = [folder / "config.toml", folder / "secret", *(folder / proxy.name for proxy in proxies)]
    if taken := [str(path) for path in paths if path.exists() or path.is_symlink()]:
        what, them = ("exists", "it") if len(taken) == 1 else ("exist", "them")
        complain(f"{' and '.join(taken)} already {what}; nothing was written. Move {them} away, or edit {them}.")
        return 1
    make_folder(folder)
    config_path, secret_path, *proxy_paths = paths
    write_secret(secret_path, secrets.token_bytes(SECRET_BYTES))
    write_new_file(config_path, _config_text(options).encode())
    tell(f"wrote {config_path} and {secret_path} (keep a copy of the secret somewhere else)")
    steps = []
    for proxy, path in zip(proxies, proxy_paths, strict=True):
        write_new_file(path, proxy.render(options.url, _LISTEN).encode())
        tell(f"wrote {path}")
        steps.append(proxy.next_step.format(file=path))
    _tell_next(options, config_path, steps)
    return 0


def _check(options: argparse.Namespace) -> None:
    """Raises `BadConfig`, with the names of the options."""
    document = {
        "server": {"public_url": options.url or _EXAMPLE_URL},
        "registration": {"listed": options.listed},
        "store": {"url": options.store or ""},
    }
    places = {f"registration.listed[{at}]": f"--listed {identity}" for at, identity in enumerate(options.listed)}
    _parse(document, {"server.public_url": "--url", "store.url": "--store", **places})
    if options.listed and options.registration in ("invite", "open"):
        raise BadConfig([f"--listed: has no effect with --registration {options.registration}; leave one out"])


def _parse(document: Mapping[str, Any], names: Mapping[str, str]) -> None:
    """Raises `BadConfig`, with these names in place of the keys, which nobody has written yet."""
    try:
        parse_config(document, Path("/"))
    except BadConfig as error:
        mistakes = [mistake.partition(": ") for mistake in error.mistakes]
        raise BadConfig(f"{names[key]}: {rule}" for key, _, rule in mistakes) from None


def _ask_for_the_rest(options: argparse.Namespace) -> None:
    """Raises `EOFError` when the person has no answer (Ctrl-D)."""
    if not options.url:
        options.url = _answer(f"The public URL of this server, such as {_EXAMPLE_URL}", _url)
    if not options.listed and not options.registration:
        question = "Who may claim an inbox: names or app keys with spaces between them, or invite, or open [nobody yet]"
        options.registration, options.listed = _answer(question, _registration)
    if not options.proxy:
        options.proxy = _answer(f"The proxy in front of it: {', '.join(PROXIES)} or none [none]", _proxy)


def _url(answer: str) -> str:
    _parse({"server": {"public_url": answer}}, {"server.public_url": answer or "the URL"})
    return answer


def _registration(answer: str) -> tuple[str, list[str]]:
    if answer in ("invite", "open"):
        return answer, []
    listed = answer.replace(",", " ").split()
    document = {"server": {"public_url": _EXAMPLE_URL}, "registration": {"listed": listed}}
    _parse(document, {f"registration.listed[{at}]": identity for at, identity in enumerate(listed)})
    return "listed", listed


def _proxy(answer: str) -> str:
    if answer not in ("", "none", *PROXIES):
        raise BadConfig([f"{answer}: is not one of {', '.join(PROXIES)} and none"])
    return answer or "none"


def _answer(question: str, read: Callable[[str], Any]) -> Any:
    """Asks until the answer can be used."""
    while True:
        try:
            return read(input(f"{question}: ").strip())
        except BadConfig as error:
            complain(str(error))


def _config_text(options: argparse.Namespace) -> str:
    overrides = {}
    if options.url:
        overrides["server.public_url"] = json.dumps(options.url)
    if options.proxy in PROXIES:
        overrides["server.proxy_header"] = json.dumps(HEADER)
    if options.registration:
        overrides["registration.mode"] = json.dumps(options.registration)
    if options.listed:
        overrides["registration.listed"] = json.dumps(options.listed)
    if options.store:
        overrides["store.url"] = json.dumps(options.store)
        overrides["store.password_file"] = json.dumps(_SIGN_IN_NAME)
    return render_config(overrides, leave_out=frozenset() if options.url else frozenset({"server.public_url"}))


def _tell_next(options: argparse.Namespace, config_path: Path, proxy_steps: Iterable[str]) -> None:
    if not options.url:
        tell(f"next: set server.public_url in {config_path}")
    if options.store:
        password = config_path.with_name(_SIGN_IN_NAME)
        tell(f"next: write the database's password into {password} (mode 0600), or empty store.password_file")
        tell("next: on further hosts, copy what is here: docs/postgresql.md, More hosts")
    if options.registration == "invite":
        tell(f"next: make invite codes with inbox-server invite new --config {config_path}")
    elif options.registration != "open" and not options.listed:
        tell(f"next: list who may claim an inbox in {config_path}, registration.listed")
    for step in proxy_steps:
        tell(f"next: {step}")
    tell(f"then: inbox-server serve --config {config_path}")
