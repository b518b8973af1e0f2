"""Group `trust`: receipts, by which a sender proves a delivery, and the log, in which an owner sees every one."""

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from inbox_server.clock import UnixTime
from inbox_server.conformance.bench import Bench, id_of
from inbox_server.conformance.cases import Failed, Group
from inbox_server.conformance.inboxes import Inbox
from inbox_server.conformance.replies import Reply
from inbox_server.identity.keys import NotAKey, PublicKey, parse_key
from inbox_server.inbox_log import HEAD_TYPE, LogEntry, LogPoint, fold
from inbox_server.protocol.base64url import NotBase64Url, decode, encode
from inbox_server.protocol.receipts import LEVELS, RECEIPT_TYPE, SALT_BYTES, leaf_of, root_of
from inbox_server.protocol.signed import NotSigned, read_signed

GROUP: Final = Group("trust", "receipts")
_LOGGED: Final = "what-is-logged"
_LOG: Final = "get-v1inboxlog"
_DAY_SECONDS: Final = 86_400
_NONCE_BYTES: Final = 16
_HASH_BYTES: Final = 32
_SHORT: Final = 600
_FOR_DAYS: Final = 2 * _DAY_SECONDS
_FIRST_NUMBERS: Final = 1 << 40


def _key(bench: Bench) -> PublicKey:
    receipts = bench.document.get("receipts")
    try:
        return parse_key(receipts["key"] if isinstance(receipts, dict) else "")
    except (NotAKey, KeyError, TypeError):
        raise Failed("`receipts` in the capability document has no `key` of 66 lower-case hex characters") from None


def _raw(text: Any, size: int, what: str) -> bytes:
    try:
        raw = decode(text) if isinstance(text, str) else b""
    except NotBase64Url:
        raw = b""
    if len(raw) != size:
        raise Failed(f"{what} is not {size} bytes in base64url without padding")
    return raw


def _claims(bench: Bench, token: Any, typ: str) -> dict[str, Any]:
    """Of a token that the server's receipt key signed. Raises `Failed`."""
    try:
        return read_signed(token if isinstance(token, str) else "", _key(bench), typ)
    except NotSigned as error:
        raise Failed(f"what is signed {error}") from None


async def _asked(inbox: Inbox, text: str, **more: Any) -> Reply:
    """A delivery that asks for a receipt, unless `more` says otherwise."""
    body = json.dumps({"message_id": text, "receipt": True, **more}).encode()
    token = inbox.bench.deliver_token(inbox.bench.somebody(), inbox.owner.key.public, body)
    return await inbox.bench.send("POST", "/v1/messages", token=token, body=body)


def _day_of_receipt(inbox: Inbox, reply: Reply, text: str) -> int:
    """The day on which a delivery's receipt was signed. Raises `Failed` unless the receipt holds."""
    receipt = reply.members.get("receipt")
    if not isinstance(receipt, dict) or not {"token", "salt", "path"} <= receipt.keys():
        raise Failed("the answer has no `receipt` with `token`, `salt` and `path`")
    path = receipt["path"]
    if not isinstance(path, list) or len(path) != LEVELS:
        raise Failed(f"the receipt's path does not have {LEVELS} nodes")
    salt = _raw(receipt["salt"], SALT_BYTES, "the receipt's salt")
    leaf = leaf_of(salt, inbox.address, decode(id_of(text)), UnixTime(reply.number("expires")))
    root = root_of(leaf, [_raw(node, _HASH_BYTES, "a node of the path") for node in path])
    claims = _claims(inbox.bench, receipt["token"], RECEIPT_TYPE)
    day = claims.get("day")
    if claims != {"iss": inbox.bench.origin, "root": encode(root), "day": day} or type(day) is not int:
        raise Failed("the receipt's token is not for this server and the root that leaf and path lead to")
    return day


def _check_today(inbox: Inbox, day: int) -> None:
    if abs(inbox.bench.now() - (day * _DAY_SECONDS + _DAY_SECONDS // 2)) > _DAY_SECONDS // 2 + _SHORT:
        raise Failed(f"the receipt is of day {day}, which is not today")


@GROUP.required("A server MUST answer every delivery that asks for a receipt with one that holds", feature="receipts")
async def a_delivery_that_asks_gets_a_receipt_that_holds(bench: Bench, inbox: Inbox) -> None:
    """Leaf and path of a receipt lead to the root that the server's receipt key signed, today, for this server."""
    for life in ({}, {"ttl": _SHORT}):
        text = bench.text()
        reply = (await _asked(inbox, text, **life)).expect(201)
        _check_today(inbox, _day_of_receipt(inbox, reply, text))


@GROUP.required("A repeat MUST get a receipt of the day of the repeat", feature="receipts")
async def a_repeat_gets_a_receipt_whether_it_was_read_or_not(bench: Bench, inbox: Inbox) -> None:
    """The receipt of a repeat is of today, of the same members and as long, whether the entry is unread or read."""
    unread, read = bench.text(), bench.text()
    await inbox.received(unread, read)
    (await inbox.ack(id_of(read))).expect(204)
    replies = [(await _asked(inbox, text)).expect(200) for text in (unread, read)]
    for text, reply in zip((unread, read), replies, strict=True):
        _check_today(inbox, _day_of_receipt(inbox, reply, text))
    if len(set(map(_shape, replies))) > 1:
        raise Failed("the receipts of an unread entry and of a read one look different")


def _shape(reply: Reply) -> tuple[Any, ...]:
    receipt = reply.members["receipt"]
    return (*reply.members, *receipt, len(receipt["token"]))


@GROUP.required('Add `"receipt": true` to the body of a delivery', feature="receipts")
async def who_does_not_ask_gets_no_receipt(bench: Bench, inbox: Inbox) -> None:
    """Without `receipt`, and with false, the answer has none. Anything but true and false is a `bad_request`."""
    if "receipt" in (await inbox.deliver(bench.text())).expect(201).members:
        raise Failed("a delivery that did not ask got a receipt")
    if "receipt" in (await _asked(inbox, bench.text(), receipt=False)).expect(201).members:
        raise Failed("a delivery with false got a receipt")
    for wrong in (1, 0, "true", None, [True]):
        reply = await _asked(inbox, bench.text(), receipt=wrong)
        reply.refused("bad_request", member="receipt", why=f"with the receipt {wrong!r}")


async def _log(inbox: Inbox, **query: Any) -> Reply:
    nonce = encode(inbox.bench.random_bytes(_NONCE_BYTES))
    return await inbox.ask("GET", f"/v1/inbox/log?{urlencode({'nonce': nonce, **query})}", "read")


def _point(members: Mapping[str, Any], name: str) -> LogPoint:
    point = members.get(name)
    if not isinstance(point, dict) or type(point.get("n")) is not int:
        raise Failed(f"the log's {name} has no whole number `n`")
    return LogPoint(point["n"], _raw(point.get("head"), _HASH_BYTES, f"the head of the log's {name}"))


def _entries(reply: Reply) -> list[LogEntry]:
    """Raises `Failed` if it is not a page of a log."""
    entries = reply.expect(200).members.get("entries")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise Failed("the log's `entries` is not a list of objects")
    if any(type(entry.get("n")) is not int for entry in entries):
        raise Failed("an entry of the log has no whole number `n`")
    if not isinstance(reply.members.get("more"), bool):
        raise Failed("the log's `more` is neither true nor false")
    return [LogEntry(entry["n"], _raw(entry.get("id"), _HASH_BYTES, "an entry's id")) for entry in entries]


async def _end(inbox: Inbox) -> LogPoint:
    return _point((await _log(inbox)).expect(200).members, "head")


async def _check_logged(inbox: Inbox, end: LogPoint, *ids: str) -> LogPoint:
    """That exactly these came after `end`, in a chain that leads to the head; the head. Raises `Failed`."""
    reply = await _log(inbox, after=end.n, limit=1000)
    entries = _entries(reply)
    try:
        reached = fold(end, entries)
    except ValueError as error:
        raise Failed(f"the log has a gap: {error}") from None
    if reached != _point(reply.members, "head"):
        raise Failed("what is in the log does not lead to its head")
    if [encode(entry.id) for entry in entries] != list(ids):
        raise Failed(f"the log has {len(entries)} new entries, which are not the {len(ids)} that had to be logged")
    return reached


@GROUP.required("Every delivery MUST be logged, with the next `n` and a new head", section=_LOGGED, feature="log")
async def what_lives_for_days_is_logged_once(bench: Bench, inbox: Inbox) -> None:
    """What lives until the end of a later day is logged, in order; its repeats and acknowledgements are not."""
    end, texts = await _end(inbox), [bench.text() for _ in range(3)]
    ids = await inbox.received(*texts)
    for text in texts:
        (await inbox.deliver(text)).expect(200)
    (await inbox.ack(ids[0])).expect(204)
    (await inbox.deliver(texts[0])).expect(200)
    await _check_logged(inbox, end, *ids)


@GROUP.required("Nothing else is logged.", section=_LOGGED, feature="log")
async def what_lives_for_less_than_a_day_is_not_logged(bench: Bench, inbox: Inbox) -> None:
    """A short life is not logged, nor is an acknowledgement of what was never delivered."""
    end = await _end(inbox)
    await inbox.received(bench.text(), ttl=_SHORT)
    (await inbox.ack(id_of(bench.text()))).expect(204)
    await _check_logged(inbox, end)


@GROUP.required("it is new, or a repeat that made the life longer.", section=_LOGGED, feature="log")
async def a_life_that_becomes_long_is_logged(bench: Bench, inbox: Inbox) -> None:
    """A repeat that makes a short life one of days is logged, and so is the delivery of what was read elsewhere."""
    end, short, elsewhere = await _end(inbox), bench.text(), bench.text()
    await inbox.received(short, ttl=_SHORT)
    (await inbox.deliver(short, ttl=_FOR_DAYS)).expect(200)
    (await inbox.ack(id_of(elsewhere))).expect(204)
    (await inbox.deliver(elsewhere, ttl=_FOR_DAYS)).expect(201)
    await _check_logged(inbox, end, id_of(short), id_of(elsewhere))


@GROUP.required("They repeat the answer and the nonce that was sent", section=_LOG, feature="log")
async def base_and_head_are_signed_with_the_nonce(bench: Bench, inbox: Inbox) -> None:
    """The receipt key signs base and head of the answer, the owner's address, the nonce and the time."""
    await inbox.received(bench.text())
    nonce = encode(bench.random_bytes(_NONCE_BYTES))
    reply = await _log(inbox, nonce=nonce)
    entries, base, head = _entries(reply), _point(reply.members, "base"), _point(reply.members, "head")
    claims = _claims(bench, reply.members.get("signed"), HEAD_TYPE)
    expected = {"iss": bench.origin, "sub": inbox.address, "nonce": nonce}
    if any(claims.get(name) != value for name, value in expected.items()):
        raise Failed("what is signed has another `iss`, `sub` or `nonce`")
    if (_point(claims, "base"), _point(claims, "head")) != (base, head):
        raise Failed("what is signed has another base or head than the answer")
    if type(claims.get("iat")) is not int or abs(claims["iat"] - bench.now()) > _SHORT:
        raise Failed("what is signed has an `iat` that is not now")
    if entries and entries[0].n != base.n + 1:
        raise Failed("the log does not begin after its base")


@GROUP.required("in order and without a gap", section=_LOG, feature="log")
async def pages_of_a_log_follow_on(bench: Bench, inbox: Inbox) -> None:
    """`limit` and `after` divide the log into pages that follow on; `more` is true until the head is reached."""
    end = await _end(inbox)
    ids = await inbox.received(*(bench.text() for _ in range(5)))
    seen: list[LogEntry] = []
    for size, more in ((2, True), (2, True), (1, False), (0, False)):
        reply = await _log(inbox, after=seen[-1].n if seen else end.n, limit=2)
        page = _entries(reply)
        if (len(page), reply.members["more"]) != (size, more):
            raise Failed(f"a page of a log has {len(page)} entries and `more` {reply.members['more']}")
        seen += page
    if [(entry.n, encode(entry.id)) for entry in seen] != [(end.n + 1 + n, id) for n, id in enumerate(ids)]:
        raise Failed("the pages of a log are not what was delivered, in order and without a gap")


@GROUP.required("The parameters are `nonce`", section=_LOG, feature="log")
async def a_request_for_a_log_of_another_kind_is_refused(bench: Bench, inbox: Inbox) -> None:
    """A nonce that is missing or is not 16 bytes, and a wrong `after` or `limit`, are refused; each is named."""
    nonce = encode(bench.random_bytes(_NONCE_BYTES))
    reply = await inbox.ask("GET", "/v1/inbox/log", "read")
    reply.refused("bad_request", member="nonce", why="without a nonce")
    for member, wrong in (
        ("nonce", nonce[:-1]),
        ("nonce", f"{nonce}AA"),
        ("after", "-1"),
        ("after", "x"),
        ("limit", "0"),
        ("limit", "1001"),
    ):
        reply = await _log(inbox, **{member: wrong})
        reply.refused("bad_request", member=member, why=f"with the {member} {wrong!r:.20}")
    (await _log(inbox, unheard_of=1)).refused("bad_request", why="with an unknown parameter")


@GROUP.required("Every inbox has a log, which only its owner is shown.", section=_LOGGED, feature="log")
async def a_log_is_shown_to_its_owner_only(bench: Bench, inbox: Inbox) -> None:
    """Another key is told that it has no inbox, and a token of another scope is refused."""
    stranger = Inbox(bench, bench.somebody())
    (await _log(stranger)).refused("no_inbox", why="with a key that has no inbox")
    path = f"/v1/inbox/log?nonce={encode(bench.random_bytes(_NONCE_BYTES))}"
    (await inbox.ask("GET", path, "ack")).refused("bad_token", member="scope", why="with an ack token")
    (await bench.send("GET", path)).refused("no_token", why="without a token")


@GROUP.required(
    "It starts when the inbox is claimed, with a random number `n` below 2^40 and a `head` of 32 random bytes.",
    section=_LOGGED,
    feature="log",
    uses_up=True,
)
async def a_new_claim_begins_another_log(bench: Bench, inbox: Inbox) -> None:
    """After the inbox was deleted and claimed anew, its log is empty, and begins at another number and head."""
    await inbox.received(bench.text())
    before = _point((await _log(inbox)).expect(200).members, "base")
    (await inbox.delete()).expect(204)
    (await inbox.put({**inbox.admission, "accept": "anyone"})).expect(201)
    reply = await _log(inbox)
    entries, base, head = _entries(reply), _point(reply.members, "base"), _point(reply.members, "head")
    if entries or base != head:
        raise Failed("the log of a new inbox is not empty")
    if base.n == before.n or base.head == before.head:
        raise Failed("the log of a new inbox begins where the old one did")
    if not 0 <= base.n < _FIRST_NUMBERS:
        raise Failed("the log of a new inbox begins at a number that is not below 2^40")
