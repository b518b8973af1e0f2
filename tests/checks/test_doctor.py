"""`inbox-server doctor`: what it says of a deployment, running and not, and that it leaves no trace."""

import asyncio
import contextlib
import json
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from inbox_server.checks.deployment import check_disk
from inbox_server.checks.inside import check_deployment
from inbox_server.checks.results import Finding, Findings
from inbox_server.client.appkey import AppKey
from inbox_server.clock import system_clock
from inbox_server.config.file import load_config
from inbox_server.config.secret import add_secret
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.store.sqlite.inspect import inspect
from inbox_server.store.sqlite.opening import DATABASE_NAME
from inbox_server.world.people import make_person
from tests.conftest import APP
from tests.support.hosts import Host, profile, running_host, zone_file
from tests.support.requests import Caller, at
from tests.support.serving import Deployment, client_session, deploy, free_port

SECRET = bytes(range(32))


async def doctor(
    place: Deployment, name: str | None = None, *, clock: Callable[[], float] = time.time
) -> dict[str, Finding]:
    """What was found, by check; of two by the same name the graver."""
    findings = Findings(lambda _: None)
    app = APP if name else None
    await check_deployment(place.folder / "config.toml", findings, name=name, app=app, seconds=1.0, clock=clock)
    assert all(finding.advice for finding in findings.all if finding.verdict in ("failed", "warning"))
    assert SECRET.hex() not in str(findings.all)
    order = ["skipped", "ok", "warning", "failed"]
    return {f.check: f for f in sorted(findings.all, key=lambda finding: order.index(finding.verdict))}


def of_verdict(found: dict[str, Finding], verdict: str) -> list[str]:
    return [finding.check for finding in found.values() if finding.verdict == verdict]


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below, when it was last written, and what it holds; but the index, which readers lock in."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mtime_ns,
            b"" if path.suffix == ".sqlite3-shm" else path.read_bytes(),
        )
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    """A name service, and the host of everybody's profiles and buckets."""
    async with running_host() as host:
        yield host


@pytest.fixture
def place(tmp_path: Path, host: Host) -> Deployment:
    """A deployment that was never started."""
    admin = f"127.0.0.1:{free_port()}"
    host.put("/v1/names/inbox-server.id", '{"error": "cannot find name inbox-server.id"}', status=404)
    services = {"names__services": [host.url], "outgoing__allow": []}
    return deploy(tmp_path / "place", server__admin_listen=admin, **services)


@contextlib.asynccontextmanager
async def filled(place: Deployment) -> AsyncIterator[asyncio.subprocess.Process]:
    """The server, with an inbox and an entry in it."""
    async with place.running() as server, client_session() as session:
        owner = Caller(session, place.url, AppKey(SECRET), system_clock)
        assert (await owner.claim({"accept": "anyone"})).status == 201
        assert (await at(owner).deliver("opaque", recipient=owner.key.address)).status == 201
        yield server


async def ended(place: Deployment, by: signal.Signals) -> None:
    """Start it, fill it, and end it so."""
    async with filled(place) as server:
        server.send_signal(by)
        await server.wait()


async def test_a_deployment_that_never_ran_is_in_order_and_stays_as_it_is(place: Deployment) -> None:
    before = contents(place.folder)
    found = await doctor(place)
    assert of_verdict(found, "failed") == of_verdict(found, "warning") == []
    assert of_verdict(found, "ok") == ["configuration", "secret", "disk", "name service", "clock"]
    assert {"data directory", "server", "proxy log", "outside"} == set(of_verdict(found, "skipped"))
    assert f"inbox-server ping {place.url}" in found["outside"].advice
    assert contents(place.folder) == before
    assert not place.data.exists()


async def test_a_clock_that_jumped_is_told_with_what_to_do(place: Deployment) -> None:
    await ended(place, signal.SIGTERM)
    with contextlib.closing(sqlite3.connect(place.data / DATABASE_NAME, isolation_level=None)) as db:
        db.execute("UPDATE seen SET time = time + 86400")
    async with place.running():
        found = await doctor(place)
        assert of_verdict(found, "failed") == ["clock jumped"]
        assert "seconds back" in found["clock jumped"].said
        assert "SIGUSR1" in found["clock jumped"].advice


async def test_beside_a_server_that_runs_everything_is_seen(place: Deployment) -> None:
    async with filled(place):
        before = contents(place.folder)
        found = await doctor(place)
        assert contents(place.folder).keys() == before.keys()
    assert of_verdict(found, "failed") == of_verdict(found, "warning") == []
    assert {"database", "server", "listener", "ready"} <= set(of_verdict(found, "ok"))


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL])
async def test_a_server_that_stopped_or_crashed_leaves_a_database_that_is_read_without_a_trace(
    place: Deployment, by: signal.Signals
) -> None:
    await ended(place, by)
    assert (place.data / f"{DATABASE_NAME}-wal").exists() == (by == signal.SIGKILL)
    before = contents(place.folder)
    found = await doctor(place)
    assert found["database"].verdict == "ok"
    assert "whole" in found["database"].said
    assert found["server"].verdict == "skipped"
    assert contents(place.folder) == before


async def test_a_database_is_read_beside_a_server_without_a_trace(place: Deployment) -> None:
    async with filled(place) as server:
        server.send_signal(signal.SIGSTOP)  # so that whatever changes is not the server's work
        before = contents(place.folder)
        found = inspect(place.data, KeyedHash(SECRET).check_value(), seconds=60)
        after = contents(place.folder)
        server.send_signal(signal.SIGCONT)
    assert (found.is_secrets, found.damage, found.read_through) == (True, "", True)
    assert after == before


async def test_a_log_without_its_index_is_left_to_the_server(place: Deployment) -> None:
    await ended(place, signal.SIGKILL)
    (place.data / f"{DATABASE_NAME}-shm").unlink()
    before = contents(place.folder)
    found = await doctor(place)
    assert found["database"].verdict == "skipped"
    assert "only a server that starts may merge it" in found["database"].said
    assert contents(place.folder) == before


def another_secret(place: Deployment) -> None:
    (place.folder / "secret").write_text("11" * 32)


def damage(place: Deployment) -> None:
    path = place.data / DATABASE_NAME
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + b"\xff" * 4096 + whole[12288:])


def cut(place: Deployment) -> None:
    path = place.data / DATABASE_NAME
    path.write_bytes(path.read_bytes()[:5000])


def newer(place: Deployment) -> None:
    with contextlib.closing(sqlite3.connect(place.data / DATABASE_NAME)) as db:
        db.execute("PRAGMA user_version=99")


def moved_away(place: Deployment) -> None:
    with contextlib.closing(sqlite3.connect(place.data / DATABASE_NAME)) as db, db:
        db.execute("INSERT INTO migration (one, mark, state) VALUES (1, x'01', 'left')")


def half_copied(place: Deployment) -> None:
    with contextlib.closing(sqlite3.connect(place.data / DATABASE_NAME)) as db, db:
        db.execute("INSERT INTO migration (one, mark, state) VALUES (1, x'01', 'target')")


def of_another_program(place: Deployment) -> None:
    (place.data / DATABASE_NAME).unlink()
    with contextlib.closing(sqlite3.connect(place.data / DATABASE_NAME)) as db:
        db.execute("CREATE TABLE a (b)")


def emptied(place: Deployment) -> None:
    (place.data / DATABASE_NAME).write_bytes(b"")


def text(place: Deployment) -> None:
    (place.data / DATABASE_NAME).write_text("not a database, but long enough to be taken for one" * 100)


def open_to_all(place: Deployment) -> None:
    place.data.chmod(0o755)


def secret_for_all(place: Deployment) -> None:
    (place.folder / "secret").chmod(0o644)


def secret_inside(place: Deployment) -> None:
    (place.folder / "secret").rename(place.data / "hidden")
    (place.folder / "secret").symlink_to(place.data / "hidden")


def no_secret(place: Deployment) -> None:
    (place.folder / "secret").unlink()


@pytest.mark.parametrize(
    ("spoil", "check", "words"),
    [
        (another_secret, "database", "another secret"),
        (damage, "database", "damaged"),
        (cut, "database", "malformed"),
        (newer, "database", "newer than this command's"),
        (moved_away, "database", "was copied to another database"),
        (half_copied, "database", "is not whole"),
        (of_another_program, "database", "another program"),
        (emptied, "database", "is empty"),
        (text, "database", "not a database"),
        (open_to_all, "data directory", "open to others (mode 755)"),
        (secret_for_all, "secret", "chmod 600"),
        (secret_inside, "secret", "leads into server.data_dir"),
        (no_secret, "secret", "no such file"),
    ],
)
async def test_what_is_wrong_on_the_disk_is_named_and_left(
    place: Deployment, spoil: Callable[[Deployment], None], check: str, words: str
) -> None:
    await ended(place, signal.SIGTERM)
    spoil(place)
    before = contents(place.folder)
    found = await doctor(place)
    assert of_verdict(found, "failed") == [check]
    assert words in found[check].said
    assert contents(place.folder) == before


async def test_a_rotation_of_the_secret_that_waits_for_a_start_is_told(place: Deployment) -> None:
    await ended(place, signal.SIGTERM)
    add_secret(place.folder / "secret", bytes(32), {})
    found = await doctor(place)
    assert of_verdict(found, "warning") == ["database"]
    assert "a rotation of the secret waits for the server's next start" in found["database"].said
    async with place.running():
        pass
    assert (await doctor(place))["database"].verdict == "ok"


async def test_a_database_that_was_moved_away_under_its_server_is_missed(place: Deployment) -> None:
    async with filled(place):
        (place.data / DATABASE_NAME).rename(place.folder / "moved")
        found = await doctor(place)
    assert set(of_verdict(found, "failed")) == {"database", "ready"}
    assert "no longer there" in found["database"].said


async def test_a_server_that_runs_under_another_configuration_is_told(place: Deployment) -> None:
    config = place.folder / "config.toml"
    async with filled(place):
        config.write_text(config.read_text().replace(place.url, "https://moved.example"))
        found = await doctor(place)
    assert of_verdict(found, "failed") == ["listener"]
    assert "Restart" in found["listener"].advice


async def test_a_server_that_hangs_is_told(place: Deployment) -> None:
    async with filled(place) as server:
        server.send_signal(signal.SIGSTOP)
        try:
            found = await doctor(place)
        finally:
            server.send_signal(signal.SIGCONT)
    assert of_verdict(found, "failed") == ["listener", "ready"]
    assert "did not answer in time" in found["ready"].said


async def test_reading_a_database_through_ends_in_time(place: Deployment) -> None:
    await ended(place, signal.SIGTERM)
    with contextlib.closing(sqlite3.connect(place.data / DATABASE_NAME)) as db, db:
        db.execute(
            "CREATE TABLE many AS WITH RECURSIVE n(i) AS (SELECT 1 UNION SELECT i+1 FROM n LIMIT 50000) SELECT i FROM n"
        )
    check_value = KeyedHash(SECRET).check_value()
    assert not inspect(place.data, check_value, seconds=0).read_through
    assert inspect(place.data, check_value, seconds=60).read_through


async def test_every_mistake_of_the_configuration_is_told_at_once(place: Deployment) -> None:
    config = place.folder / "config.toml"
    config.write_text(
        config.read_text().replace('mode = "open"', 'mode = "closed"\nmood = 1').replace("hour = 60\n", "hour = 0\n")
    )
    findings = Findings(lambda _: None)
    await check_deployment(config, findings, name=None, app=None, seconds=1, clock=time.time)
    assert {finding.check for finding in findings.all} == {"configuration"}
    said = " ".join(finding.said for finding in findings.all if finding.verdict == "failed")
    for path in ("registration.mode", "registration.mood", "registration.open_per_hour"):
        assert path in said


@pytest.mark.parametrize(("left", "verdict"), [(16 << 20, "failed"), (100 << 20, "warning"), (10 << 30, "ok")])
def test_room_is_compared_with_the_reserve(place: Deployment, left: int, verdict: str) -> None:
    findings = Findings(lambda _: None)
    check_disk(load_config(place.folder / "config.toml"), findings, look=lambda _: (left, 16 << 20))
    assert [finding.verdict for finding in findings.all] == [verdict]


async def test_a_name_service_that_fails_or_is_none_is_told(place: Deployment, host: Host) -> None:
    with host.down():
        assert "answers 500" in (await doctor(place))["name service"].said
    host.put("/v1/names/inbox-server.id", "<html>", status=404)
    assert "JSON that is not a name service's" in (await doctor(place))["name service"].said
    host.put("/v1/names/inbox-server.id", '{"a": 1}')
    assert "the server cannot use" in (await doctor(place))["name service"].said
    host.gate.clear()
    assert "did not answer in time" in (await doctor(place))["name service"].said


@pytest.mark.parametrize(("lead", "verdict"), [(300, "failed"), (-300, "failed"), (-30, "ok"), (30, "ok")])
async def test_the_clock_is_compared_with_the_name_services(place: Deployment, lead: int, verdict: str) -> None:
    clock = (await doctor(place, clock=lambda: time.time() + lead))["clock"]
    assert clock.verdict == verdict
    assert ("ahead of" if lead > 0 else "behind") in clock.said or verdict == "ok"


async def test_a_clock_of_another_age_is_told(place: Deployment) -> None:
    assert "1970" in (await doctor(place, clock=lambda: 0.0))["clock"].said


ALICE = make_person("alice.id", APP, lambda length: b"\x07" * length)


def _name(host: Host, owner: str, url: str | None) -> None:
    host.put_name(ALICE.name, owner, zone_file(url) if url else None)


def unknown(host: Host) -> None:
    host.put("/v1/names/alice.id", '{"error": "cannot find name"}', status=404)


def no_zone_file(host: Host) -> None:
    _name(host, ALICE.owner_address, None)


def private_address(host: Host) -> None:
    _name(host, ALICE.owner_address, "https://10.0.0.1/profile.json")


def no_profile(host: Host) -> None:
    _name(host, ALICE.owner_address, f"{host.url}/nothing")


def sold(host: Host) -> None:
    other = make_person("bob.id", APP, lambda length: b"\x08" * length)
    _name(host, other.owner_address, f"{host.url}/{ALICE.data.address}/profile.json")


def no_bucket(host: Host) -> None:
    host.put(f"/{ALICE.data.address}/profile.json", profile(ALICE.owner, {"apps": {}}))


def no_key(host: Host) -> None:
    host.put_person(ALICE)


@pytest.mark.parametrize(
    ("spoil", "link", "words"),
    [
        (unknown, "owner", "knows no such name"),
        (no_zone_file, "zone file", "the name has none"),
        (private_address, "zone file", "not a public name"),
        (no_profile, "profile", "there is none at"),
        (sold, "profile", "not signed by a key of the name's owner"),
        (no_bucket, "bucket", "no bucket for this app"),
        (no_key, "key", "Publish key.json"),
        (None, "", ""),
    ],
)
async def test_the_link_of_a_chain_that_does_not_hold_is_named(
    tmp_path: Path, host: Host, spoil: Callable[[Host], None] | None, link: str, words: str
) -> None:
    place = deploy(tmp_path / "place", names__services=[host.url], outgoing__allow=[host.url])
    host.put_person(ALICE, stated_key=ALICE.app_key.public)
    if spoil:
        spoil(host)
    found = await doctor(place, "alice.id")
    links = ["owner", "zone file", "profile", "bucket", "key"]
    assert of_verdict(found, "failed") == ([link] if link else [])
    held = links[: links.index(link)] if link else links
    assert [each for each in links if each in of_verdict(found, "ok")] == held
    if link:
        assert words in found[link].said
    else:
        assert ALICE.app_key.public in found["key"].said


async def test_a_profiles_host_that_fails_is_told_why(tmp_path: Path, host: Host) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    place = deploy(tmp_path / "place", names__services=[host.url], outgoing__allow=[dead])
    _name(host, ALICE.owner_address, f"{dead}/profile.json")
    assert "refuses connections" in (await doctor(place, "alice.id"))["profile"].said


async def test_a_name_that_is_vouched_for_needs_no_chain(tmp_path: Path) -> None:
    vouched = [{"name": "alice.id", "app": APP, "key": ALICE.app_key.public}]
    place = deploy(tmp_path / "place")
    config = place.folder / "config.toml"
    inline = f'[{{ name = "alice.id", app = "{APP}", key = "{vouched[0]["key"]}" }}]'
    config.write_text(config.read_text().replace("static = []", f"static = {inline}"))
    found = await doctor(place, "alice.id")
    assert "names.static" in found["key"].said
    assert found["name service"].verdict == "skipped"


async def _command(*arguments: str | Path) -> tuple[int | None, str, str]:
    pipe = asyncio.subprocess.PIPE
    command = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "inbox_server", "doctor", *arguments, stdout=pipe, stderr=pipe
    )
    said, errors = await command.communicate()
    sys.stderr.write(errors.decode())  # shown if the test fails
    return command.returncode, said.decode(), errors.decode()


async def test_the_command_tells_people_and_scripts_and_its_exit_code_says_whether_anything_failed(
    place: Deployment,
) -> None:
    config = place.folder / "config.toml"
    code, said, errors = await _command("--config", config)
    assert (code, errors) == (0, "")
    assert said.startswith("ok       configuration: ")
    no_secret(place)
    code, said, _ = await _command("--config", config, "--json")
    document = json.loads(said)
    assert (code, document["ok"]) == (1, False)
    assert [check["check"] for check in document["checks"] if check["verdict"] == "failed"] == ["secret"]


async def test_a_name_goes_with_an_app(place: Deployment) -> None:
    code, _, errors = await _command("--config", place.folder / "config.toml", "--name", "alice.id")
    assert code == 2
    assert "--app" in errors
