"""What is recorded, and what must hold after a power cut in it: a server at work, and the commands that write."""

import secrets
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from inbox_server.clock import system_clock
from inbox_server.config.config import BadConfig
from inbox_server.config.file import load_config
from inbox_server.config.secret import BadSecret, add_secret, read_secret
from inbox_server.identity.keyed_hash import SECRET_BYTES, KeyedHash
from inbox_server.identity.layer import ONLY_ONE, Layers
from inbox_server.store.contract import BadDatabase
from inbox_server.store.sqlite.backup import back_up, restore
from inbox_server.store.sqlite.opening import DATABASE_NAME
from inbox_server.store.sqlite.rekeying import finish_rotation
from tests.powercut.disk import Mark
from tests.powercut.history import History, Known
from tests.powercut.judging import Judge, Refusal, started, started_process
from tests.powercut.recording import KILLED, LIVES, PLACE, Ending, Recording, program, record, run_command
from tests.powercut.states import State
from tests.powercut.timeline import TERMINAL
from tests.support.old_databases import write_old_database
from tests.support.requests import SECRET, Caller, new_key

COPY: Final = "copy.sqlite3"
_OLD_VERSION: Final = 3
_NEW: Final = "new/inbox"  # two folders that `init` has to make
_EVERY: Final = 25  # of the states of a server at work, one is met by a process of its own
_CHECK_VALUE: Final = KeyedHash(SECRET).check_value()


@dataclass(frozen=True, slots=True)
class Found:
    """What one state showed. `refused`: something did not start, and said why; nobody had been told anything yet."""

    faults: Sequence[str]
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Scenario:
    """One recording, and how a state of it is judged that was laid out in a folder."""

    name: str
    recording: Recording
    judge: Callable[[State, int, Path], Awaitable[Found]]


@dataclass(frozen=True, slots=True)
class Killed:
    """What a killed server left, and what had been answered by then."""

    folder: Path
    history: History
    cut: int

    def known(self, *, devices: bool, sheets: bool = True) -> Known:
        """Without devices when the database was restored: then their cursors are no longer good.

        Without sheets when it is of a version that had none.
        """
        known = self.history.at(self.cut)
        for inbox in known.inboxes:
            inbox.has_sheet &= sheets
        if not devices:
            for inbox in known.inboxes:
                inbox.readings.clear()
        return known


def killed(recording: Recording) -> Killed:
    return Killed(recording.folder / KILLED, History(recording), recording.ends[recording.lives.index("killed")])


async def serving(folder: Path, seed: str, *, lives: Sequence[Ending] = LIVES, plant: str = "") -> Scenario:
    """A server at work."""
    recording = await record(folder, seed, lives=lives, plant=plant)
    history = History(recording)

    async def judge(state: State, number: int, place: Path) -> Found:
        as_process = number % _EVERY == _EVERY - 1
        return await _judge(history, history.at(state.cut), state, place / "data", as_process=as_process)

    return Scenario("serve", recording, judge)


async def _judge(
    history: History,
    known: Known,
    state: State,
    data: Path,
    *,
    as_process: bool = False,
    layers: Layers = ONLY_ONE,
) -> Found:
    """Start a server on `data` and hold it against what is known."""
    try:
        async with started_process(data) if as_process else started(data, state.time, layers=layers) as server:
            judge = Judge(history, known, server, state.random)
            await judge.check(data)
            return Found(judge.faults)
    except Refusal as refusal:
        return Found([f"refused: {refusal}"] if known.answered else [], refused=not known.answered)


async def backing_up(folder: Path, left: Killed, plant: str = "") -> Scenario:
    """`backup`: the copy is not there, refused, or whole; the database is what it was."""
    recording = await run_command(
        folder,
        left.folder,
        lambda place: program("backup", "--config", place / "config.toml", place / COPY, plant=plant),
    )

    async def judge(state: State, _number: int, place: Path) -> Found:
        found = await _judge(left.history, left.known(devices=True), state, place / "data")
        told = _told(recording, state.cut)
        if COPY not in state.left:
            return Found([*found.faults, *(["lost: a copy that was told of"] if told else [])])
        try:
            _restore(place / COPY, place / "restored")
        except BadDatabase as refusal:
            return Found([*found.faults, *([f"lost: a copy that was told of: {refusal}"] if told else [])], not told)
        whole = await _judge(left.history, left.known(devices=False), state, place / "restored")
        return Found([*found.faults, *whole.faults])

    return Scenario("backup", recording, judge)


async def restoring(folder: Path, left: Killed, plant: str = "") -> Scenario:
    """`restore`: the copy is what it was; there is a whole database, or `restore` works once more."""
    with tempfile.TemporaryDirectory() as temporary:
        before = Path(temporary) / "before"
        _lay_copy(left.folder, before)
        recording = await run_command(
            folder,
            before,
            lambda place: program("restore", "--config", place / "config.toml", place / COPY, plant=plant),
        )
    original = recording.timeline.root.before[COPY]

    async def judge(state: State, _number: int, place: Path) -> Found:
        faults, data = [] if state.left.get(COPY) == original.before else ["lost: the copy itself"], place / "data"
        if f"data/{DATABASE_NAME}" not in state.left:
            if _told(recording, state.cut):
                faults.append("lost: a database that was told to be restored")
            try:
                _restore(place / COPY, data)
            except BadDatabase as refusal:
                return Found([*faults, f"refused: to restore once more: {refusal}"])
        return Found([*faults, *(await _judge(left.history, left.known(devices=False), state, data)).faults])

    return Scenario("restore", recording, judge)


def _lay_copy(source: Path, before: Path) -> None:
    """A folder with configuration, secret and a copy, and no database."""
    shutil.copytree(source, before)
    back_up(before / "data", before / COPY, check_value=_CHECK_VALUE, settings_only=False)
    shutil.rmtree(before / "data")


def _restore(copy: Path, data: Path) -> None:
    restore(data, copy, check_value=_CHECK_VALUE, random_bytes=secrets.token_bytes, now=system_clock())


async def inviting(folder: Path, left: Killed, plant: str = "") -> Scenario:
    """`invite new`: a code that was printed lets somebody in."""
    recording = await run_command(
        folder, left.folder, lambda place: program("invite", "new", "--config", place / "config.toml", plant=plant)
    )
    code = "".join(_said(recording, len(recording.timeline.steps))).strip()

    async def judge(state: State, _number: int, place: Path) -> Found:
        found, data = await _judge(left.history, left.known(devices=True), state, place / "data"), place / "data"
        if found.faults or not _told(recording, state.cut):
            return found
        opened = started(data, state.time, registration="invite")
        async with opened as server, aiohttp.ClientSession() as session:
            answer = await Caller(session, server.url, new_key(), server.clock).claim({"invite": code})
        return Found([] if answer.status == 201 else [f"lost: an invite that was printed: {answer.body!r}"])

    return Scenario("invite", recording, judge)


async def rotating(folder: Path, left: Killed, plant: str = "") -> Scenario:
    """`rotate-secret`: there is a secret that opens the database, the new one if that was told."""
    recording = await run_command(
        folder, left.folder, lambda place: program("rotate-secret", "--config", place / "config.toml", plant=plant)
    )

    async def judge(state: State, _number: int, place: Path) -> Found:
        return await _judge_rotated(left, state, place, told=_told(recording, state.cut))

    return Scenario("rotate", recording, judge)


async def rekeying(folder: Path, left: Killed, plant: str = "") -> Scenario:
    """A start after `rotate-secret`: the database is under the old secret or the new one, and the file has both."""
    with tempfile.TemporaryDirectory() as temporary:
        before = Path(temporary) / "before"
        shutil.copytree(left.folder, before)
        add_secret(before / "secret", secrets.token_bytes(SECRET_BYTES), {})
        recording = await run_command(
            folder, before, lambda place: program("serve", "--config", place / "config.toml", plant=plant), serves=True
        )

    async def judge(state: State, _number: int, place: Path) -> Found:
        return await _judge_rotated(left, state, place, told=True)

    return Scenario("rekey", recording, judge)


async def _judge_rotated(left: Killed, state: State, place: Path, *, told: bool) -> Found:
    """Start once more as `serve` does. `told`: somebody was told that there is a new secret."""
    try:
        layers, said = read_secret(place / "secret", {}).layers, list[str]()
        await finish_rotation(place / "data", check_value=_CHECK_VALUE, layers=layers, announce=said.append)
    except (BadSecret, BadDatabase) as refusal:
        return Found([f"lost: the secret: {refusal}"])
    faults = ["lost: a new secret that was told of"] if told and len(layers) == 1 else []
    faults += [f"refused: {line}" for line in said if "not finished" in line]
    found = await _judge(left.history, left.known(devices=True), state, place / "data", layers=layers)
    return Found([*faults, *found.faults], found.refused)


async def upgrading(folder: Path, left: Killed, _plant: str = "") -> Scenario:
    """A start on a database of an earlier version: it goes on from there, and the copy made before is whole."""
    with tempfile.TemporaryDirectory() as temporary:
        before = Path(temporary) / "before"
        _lay_old_database(left.folder, before)
        recording = await run_command(
            folder, before, lambda place: program("serve", "--config", place / "config.toml"), serves=True
        )

    async def judge(state: State, _number: int, place: Path) -> Found:
        copies = sorted(name for name in state.left if ".before-step-" in name and ".partial" not in name)
        found = await _judge(left.history, left.known(devices=True, sheets=False), state, place / "data")
        if not copies:
            listens = "listens at" in "".join(_said(recording, state.cut))
            return Found([*found.faults, *(["lost: the copy made before an upgrade"] if listens else [])])
        _restore(place / copies[0], place / "restored")
        whole = await _judge(left.history, left.known(devices=False, sheets=False), state, place / "restored")
        return Found([*found.faults, *whole.faults])

    return Scenario("upgrade", recording, judge)


def _lay_old_database(source: Path, before: Path) -> None:
    """What is in `source`, as an earlier version of the server had it."""
    _lay_copy(source, before)
    (before / "data").mkdir(mode=0o700)
    write_old_database(before / "data" / DATABASE_NAME, _OLD_VERSION, before / COPY)
    (before / COPY).unlink()


async def beginning(folder: Path, plant: str = "") -> Scenario:
    """`init`: the secret, without which nothing in a database is ever found."""
    with tempfile.TemporaryDirectory() as empty:
        command = ("init", "--url", "https://inbox.example")
        recording = await run_command(folder, Path(empty), lambda place: program(*command, place / _NEW, plant=plant))
    secret = read_secret(folder / PLACE / _NEW / "secret")

    async def judge(state: State, _number: int, place: Path) -> Found:
        if not _told(recording, state.cut):
            return Found([])
        try:
            load_config(place / _NEW / "config.toml")
            same = read_secret(place / _NEW / "secret") == secret
        except (BadConfig, BadSecret) as refusal:
            return Found([f"lost: what init said that it wrote: {refusal}"])
        return Found([] if same else ["lost: the secret"])

    return Scenario("init", recording, judge)


def _said(recording: Recording, cut: int) -> list[str]:
    """What a command had printed by then."""
    marks = (step for step in recording.timeline.steps[:cut] if isinstance(step, Mark))
    return [mark.said for mark in marks if mark.asked_by == TERMINAL]


def _told(recording: Recording, cut: int) -> bool:
    """Whether a command had said by then that it was done."""
    return bool(_said(recording, cut))
