"""All files of a primary and its standby, searched: for texts, for what can be opened, and for who sent what."""

import hashlib
import itertools
import json
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from inbox_server.client.user import AppUser
from inbox_server.clock import DAY_SECONDS, system_clock
from inbox_server.identity.addresses import base58check_decode
from inbox_server.store.postgres.day_keys import DayKeys
from inbox_server.store.postgres.opening import open_store
from inbox_server.store.postgres.sealing import parts_of
from inbox_server.world.local_world import World
from tests.conftest import HandClock
from tests.support.postgres import need_postgres
from tests.support.postgres_pair import Streaming, streaming_pair
from tests.support.postgres_server import write_password
from tests.support.requests import Caller, at, new_key
from tests.support.secrecy import CLIENT_NETWORK
from tests.support.serving import deploy
from tests.support.stores import CHECK_VALUE, QUOTA, Box

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(60)]

MARKER = secrets.token_hex(12)
TODAY = [f"{MARKER} today {number}" for number in range(100)]
LATER = [f"{MARKER} later {number}" for number in range(100)]
READ = [*TODAY[::3], *LATER[::3]]
Sealed = tuple[bytes, bytes, int, bytes]


@pytest.fixture
def pair() -> Iterator[Streaming]:
    need_postgres()
    with streaming_pair() as pair:
        yield pair


def spellings(*plain: str | bytes) -> list[bytes]:
    """As it is, and as PostgreSQL writes bytes into a log."""
    texts = [each.encode() if isinstance(each, str) else each for each in plain]
    return [*texts, *(text.hex().encode() for text in texts)]


async def sealed(pair: Streaming) -> list[Sealed]:
    """Each text as a thief of the database has it: its inbox, its id, its day and what is sealed."""
    connection = await pair.cluster.connect()
    try:
        return [tuple(row) for row in await connection.fetch("SELECT inbox, id, day, body FROM text")]
    finally:
        await connection.close()


def opened(stolen: list[Sealed], day_keys: Path) -> int:
    """How many of them open with any key that can be made from this file, for the next fifty days."""
    keys = DayKeys(day_keys)
    ciphers = [AESGCM(keys.key(day)) for day in range(keys.day, keys.day + 50)]
    return sum(any(_opens(cipher, each) for cipher in ciphers) for each in stolen)


def _opens(cipher: AESGCM, stolen: Sealed) -> bool:
    inbox, id, _, body = stolen
    try:
        return MARKER.encode() in cipher.decrypt(*parts_of(body), inbox + id)
    except InvalidTag:
        return False


async def test_nothing_can_be_read_in_any_file_of_both_nodes_and_nothing_opened_once_its_day_is_over(
    pair: Streaming, tmp_path: Path, clock: HandClock
) -> None:
    keys, stolen_keys = tmp_path / "day-keys", tmp_path / "stolen day-keys"
    plain = spellings(MARKER)
    async with open_store(pair.cluster, day_keys_file=keys, check_value=CHECK_VALUE, quota=QUOTA, clock=clock) as store:
        box = Box(store, clock)
        await box.claim()
        for today, later in zip(TODAY, LATER, strict=True):
            await box.deliver(today)
            await box.deliver(later, life=3 * DAY_SECONDS)
        assert pair.holding(plain) == (0, 0)
        stolen = await sealed(pair)
        pieces = [body[40:80] for *_, body in stolen]
        await pair.execute("ANALYZE")
        await pair.write_out()
        assert pair.holding(pieces) == (200, 200)  # the search sees what is there
        assert pair.holding(plain) == (0, 0)
        shutil.copy(keys, stolen_keys)
        await box.acknowledge(*READ)
        assert pair.holding(plain) == (0, 0)
        await box.sweep()
        await pair.execute("VACUUM", "ANALYZE")
        await pair.write_out()
        assert pair.holding(plain) == (0, 0)
        clock.advance(2 * DAY_SECONDS)
        await box.sweep()
        await pair.write_out()
        over = [each for each in stolen if each[2] < DayKeys(keys).day]
        rest = [each for each in stolen if each not in over]
        assert (len(over), len(rest)) == (100, 100)
        assert pair.holding([body[40:80] for *_, body in over]) == (100, 100)  # the log is kept
        assert opened(over, keys) == 0
        assert opened(rest, keys) == 100
        assert opened(stolen, stolen_keys) == 200  # what an old copy of the file undoes
        assert await box.texts() == [text for text in LATER if text not in READ]
        await pair.execute("ANALYZE")
        await pair.write_out()
        assert pair.holding(plain) == (0, 0)
        await pair.execute("CREATE TABLE unsealed (body bytea)", f"INSERT INTO unsealed VALUES ('{MARKER}')")
        await pair.write_out()
        assert pair.holding(plain[:1]) == (1, 1)  # what is not sealed would have been found


async def test_nothing_of_a_sender_is_in_any_file_of_both_nodes(
    pair: Streaming, tmp_path: Path, world: World, alice: AppUser
) -> None:
    place = deploy(
        tmp_path / "inbox",
        store__url=pair.server.url,
        store__password_file=str(write_password(tmp_path, pair.server.password)),
        names__services=[world.names_url],
        outgoing__allow=[world.reader_origin],
    )
    client, tokens, known = f"{CLIENT_NETWORK}41.7", [], [alice.key, *(new_key() for _ in range(6))]
    connector = aiohttp.TCPConnector(local_addr=(client, 0))
    async with place.running() as serving, aiohttp.ClientSession(connector=connector) as session:
        owner = Caller(session, place.url, new_key(), system_clock)
        assert (await owner.claim({"accept": "anyone"})).status == 201
        for key, number in itertools.product(known, range(2)):
            sender, name = at(owner, key), "alice.id" if key is alice.key else key.public
            body = json.dumps({"message_id": f"{MARKER} {key.address} {number}"}).encode()
            tokens.append(sender.deliver_token(body, name, owner.key.address))
            for status in (201, 200):
                answer = await sender.send("POST", "/v1/messages", body, token=tokens[-1])
                assert answer.status == status, answer.body
            if number == 1:  # and one that is refused
                assert (await sender.send("POST", "/v1/messages", b"{}", token=tokens[-1])).status >= 400
        await owner.acknowledge(*[entry["id"] for entry in (await owner.unread()).json()["messages"]][::2])
        await pair.execute("ANALYZE")
        await pair.write_out()
        serving.terminate()
        said, _ = await serving.communicate()
    of_keys = [part for key in known for part in (key.public, bytes.fromhex(key.public), key.address)]
    hashes = [base58check_decode(key.address)[1] for key in known]
    of_tokens = [part for token in tokens for part in (token, *token.split(".")[1:])]
    secret = spellings(*of_keys, *hashes, *of_tokens, "alice.id", client, MARKER)
    assert pair.holding([hashlib.sha256(json.loads(body)["message_id"].encode()).digest()]) == (1, 1)  # it got there
    assert pair.holding(secret) == (0, 0)
    logs = said + b"".join(path.read_bytes() for path in (tmp_path / "inbox").rglob("*") if path.is_file())
    assert [each for each in secret if each in logs] == []
