"""`inbox-server serve`: the server itself."""

import argparse
import logging
from collections.abc import Callable
from functools import partial

from yarl import URL

from inbox_server.commands.terminal import Commands, add_config, complain, reporting_failures, run, tell, whole
from inbox_server.config.config import BadConfig, Config
from inbox_server.config.file import ONLY_ONE_PROCESS, load_config
from inbox_server.config.secret import Secret, read_secret
from inbox_server.hardening import allow_many_files, forbid_dumps
from inbox_server.outgoing.guard import NotAllowed, check_stranger_url, is_public
from inbox_server.processes.member import Member
from inbox_server.processes.start import run_processes
from inbox_server.serving import reload, serve
from inbox_server.store.choosing import load_postgres
from inbox_server.store.sqlite.opening import DATABASE_NAME


def add_serve(commands: Commands) -> None:
    command = commands.add_parser(
        "serve",
        help="run the server",
        description="Run the server until SIGTERM or Ctrl-C. It lists all errors of a bad configuration; exit code 2.",
    )
    add_config(command)
    command.add_argument(
        "--processes",
        metavar="N",
        type=whole(1, 64),
        help="run N server processes instead of server.processes; more than one needs PostgreSQL",
    )
    command.set_defaults(run=_serve)


def is_plain_and_public(origin: str) -> bool:
    """Whether an origin is http on a name or address that anybody can reach."""
    url = URL(origin)
    try:
        check_stranger_url(URL.build(scheme="https", host=url.raw_host or ""))
    except NotAllowed:
        return url.scheme == "http" and is_public(url.raw_host or "")
    return url.scheme == "http"


def _serve(options: argparse.Namespace) -> int:
    forbid_dumps()
    allow_many_files()
    config = load_config(options.config)
    secret = read_secret(config.secret_file)
    if config.outgoing_allow:
        complain(f"warning: outgoing.allow lets strangers' URLs lead to {', '.join(sorted(config.outgoing_allow))}")
    if is_plain_and_public(config.public_url):
        complain(
            f"warning: {config.public_url} is plain http on a public name: tokens can be read on the way, and apps on"
            " https cannot use it. Put a TLS proxy in front, and set server.public_url to https://"
        )
    is_any_there = config.store_url or any(
        (config.data_dir / f"{DATABASE_NAME}{end}").exists() for end in ("", "-wal", "-journal")
    )
    if not is_any_there:  # or the disk with the database is not mounted
        tell(f"there is no database in {config.data_dir} yet: the start makes an empty one")
    reread = partial(load_config, options.config)
    processes = options.processes or config.processes
    if processes > 1:
        return _serve_in_processes(config, secret, processes, reread)
    run(serve(config, secret, announce=tell, reread=reread))
    return 0


def _serve_in_processes(config: Config, secret: Secret, processes: int, reread: Callable[[], Config]) -> int:
    """Several whole servers, and this process as their parent."""
    if not config.store_url:
        raise BadConfig([f"--processes: {ONLY_ONE_PROCESS}"])
    load_postgres()

    def work(member: Member) -> int:
        name = f"process {member.number}"
        for handler in logging.getLogger().handlers:
            handler.setFormatter(logging.Formatter(f"%(levelname)s {name}: %(message)s"))

        def serve_here() -> int:
            run(serve(config, secret, announce=lambda text: tell(f"{name}: {text}"), reread=reread, member=member))
            return 0

        return reporting_failures(serve_here)

    return run_processes(
        config, processes, work, announce=tell, reload=lambda: reload(config, reread, lambda: None, tell)
    )
