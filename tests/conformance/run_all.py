"""`make conformance`: the suite, as people run it, at real servers with the limits as shipped. No case may fail.

Each run has a server of its own: alone, with small inboxes, behind nginx, behind Caddy, and on every store. Some go on
at the same time, and somebody else delivers to each server meanwhile, so that machine and servers have work to do.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from inbox_server.client.appkey import AppKey
from inbox_server.client.tokens_and_cards import deliver_token, owner_token
from inbox_server.clock import system_clock
from inbox_server.commands.terminal import tell
from inbox_server.world.local_world import World, running_world
from tests.conftest import APP
from tests.http.test_proxies import running
from tests.support.own_proxies import own_caddy, own_nginx
from tests.support.serving import Deployment, deploy, free_port
from tests.support.stores import STORES

_STORES: Final = ("sqlite", "postgres")  # the others are these behind something that no client can see
_PROXIES: Final[dict[str, tuple[Callable[[Path, int, str], list[str]], str]]] = {
    "nginx": (own_nginx, "cert"),
    "Caddy": (own_caddy, "caddy/pki/authorities/local/root.crt"),
}
"""By proxy: the command that runs it, and the certificate to trust, in its folder."""
_WAYS: Final = ("alone", "small", *_PROXIES)
_SHIPPED: Final = {"limits__sender_per_hour": 600, "limits__inbox_per_hour": 6000}
_SMALL: Final = {"limits__inbox_entries": 300, "limits__inbox_read_entries": 1000}
_NEEDS_SMALL: Final = {
    "limits/a-full-inbox-refuses-and-keeps-what-it-has",
    "limits/a-cursor-from-before-what-was-forgotten-is-gone",
}
_NEEDS_A_FEATURE: Final = {"push/what-is-no-room-is-refused"}
_PAUSE_SECONDS: Final = 0.004  # between others' deliveries: a few hundred a second, while a run lasts
_NAMES: Final = ("alice.id", "bob.id", "carol.id.blockstack")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a suite finds a server, and what it must trust for that."""

    url: str
    certificate: Path | None
    deployment: Deployment


async def run_all(runs: int, at_once: int, *, quick: bool) -> bool:
    """Whether no run had a false alarm."""
    ways = itertools.cycle((store, way) for way in _WAYS for store in _STORES)
    places = asyncio.Semaphore(at_once)
    with tempfile.TemporaryDirectory(prefix="inbox-server-") as name:
        async with running_world(Path(name) / "world", clock=system_clock) as world:
            names = await _write_names(world, Path(name) / "names.json")

            async def run(number: int, store: str, way: str) -> bool:
                async with places:
                    folder = Path(name) / str(number)
                    folder.mkdir()
                    return await _run(number, store, way, world, names, folder, quick=quick)

            numbered = zip(range(1, runs + 1), ways, strict=False)
            return all(await asyncio.gather(*(run(number, store, way) for number, (store, way) in numbered)))


async def _write_names(world: World, path: Path) -> Path:
    people = [await world.settle(name, APP) for name in _NAMES]
    shown = [{"name": person.name, "app_private_key": person.app_key.secret.hex()} for person in people]
    await asyncio.to_thread(path.write_text, json.dumps({"app": APP, "people": shown}))
    return path


async def _run(number: int, store: str, way: str, world: World, names: Path, folder: Path, *, quick: bool) -> bool:
    kept: dict[str, Any] = {f"store__{key}": value for key, value in STORES[store].config(folder).items()}
    settings = kept | _SHIPPED | (_SMALL if way == "small" else {})
    settings |= {"names__services": [world.names_url], "outgoing__allow": [world.reader_origin]}
    async with _served(way, folder, settings) as place:
        load = asyncio.create_task(_deliver_meanwhile(place))
        try:
            code, report = await _judged(place, names, folder / "report.json", quick=quick)
        finally:
            load.cancel()
            await asyncio.wait([load])
    verdicts = {case["id"]: case["verdict"] for case in report["cases"]}
    failed = [case for case in report["cases"] if case["verdict"] == "failed"]
    not_run = {id for id, verdict in verdicts.items() if verdict == "not run"}
    expected = _NEEDS_A_FEATURE | (set() if way == "small" else _NEEDS_SMALL)
    others = "" if load.cancelled() else f"; the load ended: {load.exception()}"
    passed = sum(verdict == "passed" for verdict in verdicts.values())
    told = f"{passed} passed, {len(failed)} failed, {len(not_run)} not run, {report['seconds']:.0f} s"
    tell(f"run {number} ({store}, {way}): {told}{others}")
    for case in failed:
        tell(f"  {case['id']}: {case['said']}")
    for id in sorted(not_run ^ expected):
        tell(f"  {id}: {verdicts[id]}, which is not expected")
    return code == 0 and not failed and not_run == expected and not report["left"] and load.cancelled()


@contextlib.asynccontextmanager
async def _served(way: str, folder: Path, settings: dict[str, Any]) -> AsyncIterator[Place]:
    """A server process, and the proxy in front of it if there is one."""
    if way not in _PROXIES:
        deployment = deploy(folder / "server", **settings)
        async with deployment.running():
            yield Place(deployment.url, None, deployment)
        return
    command, certificate = _PROXIES[way]
    port = free_port()
    url = f"https://localhost:{port}"
    deployment = deploy(folder / "server", **settings, server__public_url=url, server__proxy_header="X-Real-IP")
    front = folder / "proxy"
    front.mkdir()
    server = deployment.url.removeprefix("http://")
    async with deployment.running(), running(command(front, port, server), port, front):
        while not (front / certificate).exists():  # noqa: ASYNC110 — Caddy makes it after it began to listen
            await asyncio.sleep(0.05)
        yield Place(url, front / certificate, deployment)


async def _judged(place: Place, names: Path, report: Path, *, quick: bool) -> tuple[int, Any]:
    """The command's exit code, and its JSON."""
    options = ["--names", str(names), "--json", str(report), *(["--quick"] if quick else [])]
    trust = {"SSL_CERT_FILE": str(place.certificate)} if place.certificate else {}
    command = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "inbox_server", "conformance", place.url, *options),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | trust,
    )
    _, errors = await command.communicate()
    if command.returncode not in (0, 1):
        raise RuntimeError(f"the suite exited with {command.returncode}: {errors.decode()}")
    return command.returncode, json.loads(await asyncio.to_thread(report.read_text))


async def _deliver_meanwhile(place: Place) -> None:
    """Somebody else's deliveries, past the proxy, where nobody's network is counted."""
    owner, sender = AppKey(secrets.token_bytes(32)), AppKey(secrets.token_bytes(32))
    host = {"Host": place.url.partition("://")[2]}
    async with aiohttp.ClientSession(place.deployment.url, headers=host) as session:
        body = b'{"accept":"anyone","retention":3600}'
        now = system_clock()
        token = owner_token(owner, scope="settings", app=APP, inbox=place.url, now=now, body=body)
        async with session.put("/v1/inbox", data=body, headers={"Authorization": f"Bearer {token}"}) as answer:
            answer.raise_for_status()
        while True:
            body = json.dumps({"message_id": secrets.token_urlsafe(600)}).encode()
            token = deliver_token(
                sender,
                body,
                sender=sender.public,
                recipient=owner.public,
                app=APP,
                inbox=place.url,
                now=system_clock(),
            )
            async with session.post("/v1/messages", data=body, headers={"Authorization": f"Bearer {token}"}) as answer:
                await answer.read()
            await asyncio.sleep(_PAUSE_SECONDS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--quick", action="store_true", help="without the cases that wait for a minute")
    options = parser.parse_args()
    lacking = [
        name for name in ("nginx", "caddy", "openssl") if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    ]
    if lacking:
        sys.exit(f"these are needed: apt install {' '.join(lacking)}")
    sys.exit(0 if asyncio.run(run_all(options.runs, options.at_once, quick=options.quick)) else 1)


if __name__ == "__main__":
    main()
