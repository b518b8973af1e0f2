"""The files of a client: private, whole after a crash, and changed by several commands at once."""

import json
import multiprocessing
from dataclasses import asdict, replace
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from inbox_server.client.appkey import AppKey
from inbox_server.client.open_client import outbox_file, profile_file
from inbox_server.client.outbox import Place, Waiting, parse_outbox, render_outbox
from inbox_server.client.profile_file import Move, Profile, parse_profile, render_profile
from inbox_server.client.remembered import Audited, Person, Remembered, Written
from inbox_server.client.storage import BadFile, InFile, write_new
from inbox_server.clock import UnixTime

KEY = AppKey(bytes(range(1, 33)))
PROFILE = Profile(
    KEY,
    "https://chat.example",
    "https://hub.example",
    ("https://hub.example/read/",),
    "alice.id",
    ("https://names.example",),
    ("https://allowed.example",),
    ("https://a.example", "https://b.example:8443"),
    {"accept": "anyone", "contacts": []},
    7,
    {KEY.address: 3},
    {"https://a.example": "cursor"},
    {"https://a.example": {"20000": "mark"}},
    {"https://b.example:8443": ("id1", "id2")},
    Move("https://a.example", "https://c.example", {"accept": "names"}, is_published=True),
    ("id3",),
)


def same(one: Profile, other: Profile) -> bool:
    """Whether all but the object of the key is equal, and that key too."""
    return one.key.secret == other.key.secret and replace(one, key=other.key) == other


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "alice.json"
    write_new(path, render_profile(PROFILE))
    return path


def test_a_profile_is_read_as_it_was_written(path: Path) -> None:
    assert same(profile_file(path).read(), PROFILE)
    least = Profile(KEY, "https://chat.example", "https://hub.example", ("https://hub.example/read/",))
    assert same(parse_profile(render_profile(least)), least)


def test_what_older_clients_wrote_is_read() -> None:
    members = json.loads(render_profile(PROFILE))
    del members["remembered"]
    assert same(parse_profile(json.dumps(members).encode()), PROFILE)
    place = {"state": "waiting", "code": "unreachable", "detail": "x", "not_before": 0}
    delivery = {"message": "1" * 32, "recipient": "bob.id", "key": KEY.public, "body": "{}", "made": 5}
    outbox = {"version": 1, "deliveries": [{**delivery, "places": {"https://a.example": place}}]}
    (waiting,) = parse_outbox(json.dumps(outbox).encode()).values()
    assert (waiting.n, waiting.is_indexed, waiting.is_over) == (0, True, False)
    assert parse_outbox(render_outbox({waiting.message: waiting})) == {waiting.message: waiting}


def test_what_is_remembered_is_read_as_it_was_written() -> None:
    remembered = Remembered(
        {"https://a.example": ("02" + "0" * 64,)},
        {KEY.public: Written(7, bytes(range(16)), 2976)},
        {KEY.public: Person("alice.id", "https://hub.example/", 9, (3, 4), 1_800_000_000)},
        {"https://a.example": {"id": 1_800_057_599, "other": 0}},
        {"https://a.example": Audited(5, 6, 7, "cursor", 8)},
        {"https://a.example": 8},
        {"id": 1_800_057_599},
    )
    profile = replace(PROFILE, remembered=remembered)
    assert same(parse_profile(render_profile(profile)), profile)
    assert "a.example" not in str(profile.without_inbox("https://a.example").remembered.audited)


@pytest.mark.parametrize(
    ("seen", "n", "high", "gaps"),
    [
        (0, 5, 5, ()),
        (5, 6, 6, ()),
        (5, 8, 8, (6, 7)),
        (8, 6, 8, (7,)),
        (8, 8, 8, (6, 7)),
        (8, 500, 500, tuple(range(400, 500))),
    ],
)
def test_a_number_that_was_left_out_is_a_gap_until_it_comes(
    seen: int, n: int, high: int, gaps: tuple[int, ...]
) -> None:
    before = Person("alice.id", n=seen, gaps=(6, 7) if seen == 8 else ())
    after = before.with_number(n)
    assert (after.n, after.gaps) == (high, gaps)


def test_the_files_are_their_owner_s_alone(path: Path) -> None:
    profile_file(path).change(lambda profile: replace(profile, seq=8))
    outbox_file(path).change(lambda outbox: outbox)
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert profile_file(path).read().seq == 8


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o601])
def test_a_file_that_others_can_read_is_refused(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(BadFile, match="chmod 600"):
        profile_file(path).read()
    with pytest.raises(BadFile, match="chmod 600"):
        profile_file(path).change(lambda profile: profile)


def test_a_profile_is_never_written_over(path: Path) -> None:
    with pytest.raises(BadFile, match="already exists"):
        write_new(path, b"other")
    assert same(profile_file(path).read(), PROFILE)


def test_a_file_that_is_not_there_is_named_and_an_outbox_need_not_be(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="client keygen"):
        profile_file(tmp_path / "none.json").read()
    assert outbox_file(tmp_path / "none.json").read() == {}


def _edits() -> list[Any]:
    whole = json.loads(render_profile(PROFILE))
    edits: list[Any] = [b"", b"{}", b"[]", b"\xff", b'{"version": 1}']
    needed = ("version", "key", "app", "hub", "prefixes")
    edits += [{name: value for name, value in whole.items() if name != left_out} for left_out in needed]
    edits += [whole | changed for changed in ({"version": 2}, {"key": "00"}, {"inboxes": ["x"]}, {"more": 1})]
    edits += [whole | changed for changed in ({"app": "chat"}, {"name": "Alice"}, {"move": {"old": 1}}, {"to_ack": 5})]
    return [edit if isinstance(edit, bytes) else json.dumps(edit).encode() for edit in edits]


@pytest.mark.parametrize("content", _edits())
def test_what_is_no_profile_is_refused_and_not_repeated(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(BadFile, match="is not a profile") as raised:
        profile_file(path).read()
    assert KEY.secret.hex() not in str(raised.value)


def test_a_write_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    def render(_: Profile) -> bytes:
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    with pytest.raises(BadFile, match="No space left"):
        InFile(path, parse_profile, render).change(lambda profile: replace(profile, seq=9))
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir() if not file.name.endswith(".lock")] == [path.name]


def _count_up(path: Path, times: int, begin: Barrier) -> None:
    begin.wait()
    for _ in range(times):
        profile_file(path).change(lambda profile: replace(profile, seq=profile.seq + 1))


def test_commands_that_run_at_once_do_not_undo_each_other(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    begin = context.Barrier(3)
    others = [context.Process(target=_count_up, args=(path, 25, begin)) for _ in range(2)]
    for other in others:
        other.start()
    _count_up(path, 25, begin)
    for other in others:
        other.join(30)
    assert profile_file(path).read().seq == PROFILE.seq + 75


def test_an_outbox_is_read_as_it_was_written(path: Path) -> None:
    places = {"https://a.example": Place("waiting", "too_many", "later", 5), "https://b.example": Place("stored")}
    waiting = Waiting("0" * 32, "bob.id", KEY.public, '{"message_id": "x"}', UnixTime(9), places)
    outbox_file(path).change(lambda outbox: {**outbox, waiting.message: waiting})
    assert outbox_file(path).read() == {waiting.message: waiting}
    assert (
        asdict(waiting)["body"] in json.loads(path.with_name("alice.outbox.json").read_text())["deliveries"][0]["body"]
    )
    path.with_name("alice.outbox.json").write_text('{"version": 2, "deliveries": []}')
    with pytest.raises(BadFile, match="outbox"):
        outbox_file(path).read()


def test_a_profile_hides_its_key() -> None:
    assert KEY.secret.hex() not in repr(PROFILE)


def test_marks_and_what_was_read_stay_bounded() -> None:
    profile = PROFILE
    for day in range(300):
        profile = profile.with_mark("https://a.example", day, f"cursor {day}")
    assert list(profile.marks["https://a.example"]) == [*map(str, range(201, 300)), "20000"]
    assert profile.with_mark("https://a.example", 299, "later") == profile
    profile = profile.with_to_ack(tuple(str(number) for number in range(100_100)))
    assert all(len(ids) == 100_000 for ids in profile.to_ack.values())
    assert set(profile.to_ack) == set(profile.sources)
    for number in range(1100):
        profile = profile.with_missed(str(number), number)
    assert list(profile.missed) == [str(number) for number in range(100, 1100)]
    assert next(iter(profile.with_to_ack(("100",)).missed)) == "101"
