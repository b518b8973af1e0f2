"""Whether the server runs: who holds the data directory, and what answers at its two listeners."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from yarl import URL

from inbox_server.checks.asking import NoAnswer, open_server
from inbox_server.checks.capability import CAPABILITY_PATH
from inbox_server.checks.results import Findings, quoted
from inbox_server.config.config import Config, Listen, Tcp
from inbox_server.store.sqlite.inspect import is_served

_START: Final = "Start it: `inbox-server serve`."


async def check_running(config: Config, findings: Findings, *, seconds: float, clock: Callable[[], float]) -> None:
    try:
        served = is_served(config.data_dir, shared=bool(config.store_url))
    except OSError as error:
        findings.skip("server", f"whether one runs cannot be seen from {config.data_dir}: {error.strerror}")
        return
    if not served:
        findings.skip("server", f"no server runs on {config.data_dir}", _START)
        return
    findings.ok("server", f"a server runs on {config.data_dir}")
    await _check_listener(config, findings, seconds, clock)
    if config.admin_listen is None:
        findings.skip("ready", "server.admin_listen is off, so the server cannot be asked")
    else:
        await _check_ready(config.admin_listen, findings, seconds, clock)


async def _check_ready(listen: Listen, findings: Findings, seconds: float, clock: Callable[[], float]) -> None:
    url = _url(listen)
    async with open_server(url, seconds, clock, socket=_socket(listen)) as admin:
        try:
            health, ready = await admin.ask("GET", "/health"), await admin.ask("GET", "/ready")
        except NoAnswer as error:
            findings.fail("ready", f"server.admin_listen, {_place(listen)}, {error}", "Was it changed since the start?")
            return
    if health.code == "internal":
        findings.fail("ready", quoted(health.members.get("detail", "")), "Restart the server. Its log may say more.")
    elif health.status != 200:
        findings.fail("ready", f"/health answers {health.status}", "Does another program listen at admin_listen?")
    elif ready.code == "clock_jumped":
        advice = (
            "Set the clock right (NTP); or, if it is right now, send the server SIGUSR1 or wait for five minutes:"
            " docs/troubleshooting.md, The clock is wrong."
        )
        findings.fail("clock jumped", quoted(ready.members.get("detail", "")), advice)
    elif ready.status != 200:
        detail = quoted(ready.members.get("detail", ready.status))
        findings.fail("ready", f"it cannot work: {detail}", "See its log, and `disk` and `database` above.")
    else:
        findings.ok("ready", "it answers, and can read and write its database")


async def _check_listener(config: Config, findings: Findings, seconds: float, clock: Callable[[], float]) -> None:
    """Check that it answers for the public URL that is now in the configuration."""
    host = {"Host": URL(config.public_url).raw_authority}
    restart = "Restart the server, if the configuration was changed since it started."
    async with open_server(_url(config.listen), seconds, clock, socket=_socket(config.listen)) as server:
        try:
            answer = await server.ask("GET", CAPABILITY_PATH, headers=host)
        except NoAnswer as error:
            findings.fail("listener", f"server.listen, {_place(config.listen)}, {error}", restart)
            return
    origin = answer.members.get("origin")
    if answer.code == "wrong_host" or (answer.status == 200 and origin != config.public_url):
        findings.fail("listener", f"the server that runs is not for {config.public_url}", restart)
    elif answer.status != 200:
        findings.fail("listener", f"it answers {answer.status}", "Does another program listen there?")
    else:
        findings.ok("listener", f"it answers at {_place(config.listen)} for {config.public_url}")


def _url(listen: Listen) -> str:
    """Where this machine reaches it: a numeric address, because the admin listener answers to no name."""
    if not isinstance(listen, Tcp):
        return "http://127.0.0.1"
    host = {"localhost": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.host, listen.host)  # noqa: S104
    return f"http://[{host}]:{listen.port}" if ":" in host else f"http://{host}:{listen.port}"


def _socket(listen: Listen) -> Path | None:
    return None if isinstance(listen, Tcp) else listen.path


def _place(listen: Listen) -> str:
    return _url(listen).removeprefix("http://") if isinstance(listen, Tcp) else str(listen.path)
