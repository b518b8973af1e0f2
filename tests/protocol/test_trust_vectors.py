"""tests/vectors/trust.json, which any implementation can use: receipts, logs and their tokens, made with test keys.

`python -m tests.protocol.test_trust_vectors` writes the file anew. What is in it is computed here a second time, from
the words of docs/protocol.md alone.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, EllipticCurvePublicKey

from inbox_server.clock import UnixTime
from inbox_server.identity.addresses import app_address
from inbox_server.identity.keys import SigningKey, parse_key
from inbox_server.inbox_log import HEAD_TYPE, LogEntry, LogPoint, fold, is_logged, next_head
from inbox_server.protocol.base64url import decode, encode
from inbox_server.protocol.receipts import LEVELS, RECEIPT_TYPE, grow_tree, leaf_of, node_of, root_of
from inbox_server.protocol.signed import NotSigned, read_signed, write_signed

FILE = Path(__file__).parent.parent / "vectors" / "trust.json"
VECTORS: Any = json.loads(FILE.read_text(encoding="utf-8"))
ORIGIN, DAY = "https://inbox.example", 20_833
DESCRIPTION = (
    "Receipts and logs of the message inbox protocol, version 1 (docs/protocol.md, `Receipts and the log`), for "
    "any implementation. Bytes are base64url without padding. `receipts`: what a server answered to deliveries of "
    "one commit, to the app address `address`; `good` is false where something was changed afterwards, and `why` "
    "says what. `heads`: one step of a log each. `folds`: from `base` over `entries` to `head`; null where the "
    "numbers have a gap. `logs`: whole answers of GET /v1/inbox/log, with the nonce that was sent and the owner's "
    "app address. `logged`: whether a delivery at `now` that lives until `expires` is logged."
)


def numbered(label: str) -> Callable[[int], bytes]:
    """Bytes that look random and are the same each time."""
    numbers = count()
    return lambda size: hashlib.shake_256(f"{label} {next(numbers)}".encode()).digest(size)


def made() -> dict[str, Any]:
    """The content of the file."""
    key, other = (SigningKey(numbered(name)(32)) for name in ("the receipt key", "another key"))
    owner = SigningKey(numbered("the owner's key")(32)).public
    return {
        "description": DESCRIPTION,
        "origin": ORIGIN,
        "receipt_key": key.public.hex,
        "other_key": other.public.hex,
        "owner": {"key": owner.hex, "address": owner.address},
        "nodes": [_node(numbered(f"node {number}")) for number in range(3)],
        "receipts": [*_receipts(key, other, owner.address, 1), *_receipts(key, other, owner.address, 3)],
        "heads": [_head(numbered(f"head {number}"), n) for number, n in enumerate((1, 2**40 - 1, 2**40, 2**53 - 1))],
        "folds": _folds(),
        "logs": _logs(key, other, owner.address),
        "logged": [
            {"now": now, "expires": expires, "logged": is_logged(UnixTime(expires), UnixTime(now))}
            for now in (DAY * 86_400, DAY * 86_400 + 86_399)
            for expires in (
                now + 10,
                DAY * 86_400 + 86_399,
                now + 86_400,
                (DAY + 1) * 86_400 + 86_399,
                now + 90 * 86_400,
            )
        ],
    }


def _node(random_bytes: Callable[[int], bytes]) -> dict[str, str]:
    one, another = random_bytes(32), random_bytes(32)
    return {"one": encode(one), "other": encode(another), "node": encode(node_of(one, another))}


def _receipts(key: SigningKey, other: SigningKey, address: str, commit: int) -> list[dict[str, Any]]:
    random_bytes = numbered(f"a commit of {commit}")
    asked = [(random_bytes(16), random_bytes(32), (DAY + 30 + n) * 86_400 + 86_399) for n in range(commit)]
    leaves = [leaf_of(salt, address, id, UnixTime(expires)) for salt, id, expires in asked]
    root, paths = grow_tree(leaves, random_bytes)
    claims = {"iss": ORIGIN, "root": encode(root), "day": DAY}
    token = write_signed(key.sign, claims, RECEIPT_TYPE)
    receipts: list[dict[str, Any]] = [
        {
            "address": address,
            "id": encode(id),
            "expires": expires,
            "leaf": encode(leaf),
            "root": encode(root),
            "day": DAY,
            "receipt": {"token": token, "salt": encode(salt), "path": [encode(each) for each in path]},
            "good": True,
        }
        for (salt, id, expires), leaf, path in zip(asked, leaves, paths, strict=True)
    ]
    one = receipts[0]
    return receipts + [
        {**one, **changed, "good": False, "why": why}
        for why, changed in {
            "another life": {"expires": one["expires"] + 86_400},
            "another entry": {"id": encode(random_bytes(32))},
            "another recipient": {"address": other.public.address},
            "another salt": {"receipt": {**one["receipt"], "salt": encode(random_bytes(16))}},
            "a path that is too short": {"receipt": {**one["receipt"], "path": one["receipt"]["path"][:-1]}},
            "signed by another key": {
                "receipt": {**one["receipt"], "token": write_signed(other.sign, claims, RECEIPT_TYPE)}
            },
            "a token of another type": {
                "receipt": {**one["receipt"], "token": write_signed(key.sign, claims, HEAD_TYPE)}
            },
            "another server's": {
                "receipt": {
                    **one["receipt"],
                    "token": write_signed(key.sign, {**claims, "iss": "https://other.example"}, RECEIPT_TYPE),
                }
            },
        }.items()
    ]


def _head(random_bytes: Callable[[int], bytes], n: int) -> dict[str, Any]:
    head, id = random_bytes(32), random_bytes(32)
    return {"head": encode(head), "n": n, "id": encode(id), "next": encode(next_head(head, n, id))}


def _folds() -> list[dict[str, Any]]:
    base = LogPoint(2**40 - 3, numbered("a base")(32))
    random_bytes = numbered("entries of a log")
    entries = [LogEntry(base.n + number, random_bytes(32)) for number in range(1, 6)]
    good = [_fold(base, entries[:length], fold(base, entries[:length])) for length in (0, 1, 5)]
    twice = [LogEntry(base.n + number, entries[0].id) for number in (1, 2)]
    gaps = (entries[1:], entries[:2] + entries[3:], [entries[1], entries[0]])
    return [*good, _fold(base, twice, fold(base, twice)), *(_fold(base, gap, None) for gap in gaps)]


def _fold(base: LogPoint, entries: Sequence[LogEntry], head: LogPoint | None) -> dict[str, Any]:
    return {"base": _point(base), "entries": [_entry(each) for each in entries], "head": head and _point(head)}


def _point(point: LogPoint) -> dict[str, Any]:
    return {"n": point.n, "head": encode(point.head)}


def _entry(entry: LogEntry) -> dict[str, Any]:
    return {"n": entry.n, "id": encode(entry.id)}


def _logs(key: SigningKey, other: SigningKey, address: str) -> list[dict[str, Any]]:
    random_bytes = numbered("a log")
    base = LogPoint(int.from_bytes(random_bytes(5), "big"), random_bytes(32))
    entries = [LogEntry(base.n + number, random_bytes(32)) for number in range(1, 4)]
    nonce, head = encode(random_bytes(16)), fold(base, entries)
    claims = {
        "iss": ORIGIN,
        "sub": address,
        "base": _point(base),
        "head": _point(head),
        "nonce": nonce,
        "iat": DAY * 86_400,
    }
    answer: dict[str, Any] = {
        "base": _point(base),
        "entries": [_entry(each) for each in entries],
        "more": False,
        "head": _point(head),
    }
    signed = {
        "whole": (key, claims, HEAD_TYPE),
        "after a copy was put back": (key, {**claims, "restored": DAY - 3}, HEAD_TYPE),
        "signed by another key": (other, claims, HEAD_TYPE),
        "an answer to another nonce": (key, {**claims, "nonce": encode(random_bytes(16))}, HEAD_TYPE),
        "another owner's": (key, {**claims, "sub": other.public.address}, HEAD_TYPE),
        "another server's": (key, {**claims, "iss": "https://other.example"}, HEAD_TYPE),
        "a head that was not signed": (key, {**claims, "head": {**_point(head), "n": head.n + 1}}, HEAD_TYPE),
        "a token of another type": (key, claims, RECEIPT_TYPE),
    }
    good = ("whole", "after a copy was put back")
    whole: list[dict[str, Any]] = [
        {
            "what": what,
            "good": what in good,
            "nonce": nonce,
            "answer": {**answer, "signed": write_signed(signer.sign, signed_claims, typ)},
        }
        for what, (signer, signed_claims, typ) in signed.items()
    ]
    dropped = {**whole[0]["answer"], "entries": answer["entries"][:1] + answer["entries"][2:]}
    swapped = {
        **whole[0]["answer"],
        "entries": [*answer["entries"][:2], {**answer["entries"][2], "id": encode(bytes(32))}],
    }
    return [
        *whole,
        {"what": "an entry was left out", "good": False, "nonce": nonce, "answer": dropped},
        {"what": "an entry was replaced", "good": False, "nonce": nonce, "answer": swapped},
    ]


def test_the_file_is_what_the_code_makes() -> None:
    assert made() == VECTORS


def hashed(*parts: bytes) -> str:
    return encode(hashlib.sha256(b"".join(parts)).digest())


@pytest.mark.parametrize("vector", VECTORS["nodes"])
def test_a_node_is_the_hash_of_its_two_children_the_smaller_first(vector: Any) -> None:
    assert hashed(b"\x01", *sorted((decode(vector["one"]), decode(vector["other"])))) == vector["node"]
    assert node_of(decode(vector["other"]), decode(vector["one"])) == decode(vector["node"])


def claims_of(token: str, typ: str, key: str = VECTORS["receipt_key"]) -> Any:
    """As PyJWT reads them. Raises `InvalidTokenError`."""
    if jwt.get_unverified_header(token) != {"typ": typ, "alg": "ES256K"}:
        raise jwt.InvalidTokenError
    point = EllipticCurvePublicKey.from_encoded_point(SECP256K1(), bytes.fromhex(key))
    return jwt.decode(token, point, algorithms=["ES256K"], issuer=ORIGIN, options={"verify_iat": False})


def receipt_holds(vector: Any) -> bool:
    """From the words of the protocol page."""
    salt, *path = (decode(each) for each in (vector["receipt"]["salt"], *vector["receipt"]["path"]))
    expires = vector["expires"].to_bytes(8, "big")
    text = (b"\0message-inbox-receipt", salt, vector["address"].encode(), b"\0", decode(vector["id"]), expires)
    node = hashlib.sha256(b"".join(text)).digest()
    if vector["good"]:
        assert encode(node) == vector["leaf"]
    for sibling in path:
        node = hashlib.sha256(b"\1" + min(node, sibling) + max(node, sibling)).digest()
    try:
        claims = claims_of(vector["receipt"]["token"], "inbox-receipt+jwt")
    except jwt.InvalidTokenError:
        return False
    return len(path) == 9 and bool(claims == {"iss": ORIGIN, "root": encode(node), "day": DAY})


@pytest.mark.parametrize("vector", VECTORS["receipts"], ids=lambda vector: vector.get("why", "good"))
def test_a_receipt_holds_or_not(vector: Any) -> None:
    assert receipt_holds(vector) is vector["good"]
    if vector["good"]:
        leaf = leaf_of(decode(vector["receipt"]["salt"]), vector["address"], decode(vector["id"]), vector["expires"])
        assert root_of(leaf, map(decode, vector["receipt"]["path"])) == decode(vector["root"])


@pytest.mark.parametrize("vector", VECTORS["heads"], ids=lambda vector: str(vector["n"]))
def test_a_head_is_the_hash_of_the_head_before_and_the_entry(vector: Any) -> None:
    head, id = decode(vector["head"]), decode(vector["id"])
    assert hashed(b"\x01message-inbox-log", head, vector["n"].to_bytes(8, "big"), id) == vector["next"]


@pytest.mark.parametrize("vector", VECTORS["folds"])
def test_a_fold_leads_to_the_head_unless_a_number_is_missing(vector: Any) -> None:
    start = LogPoint(vector["base"]["n"], decode(vector["base"]["head"]))
    entries = [LogEntry(each["n"], decode(each["id"])) for each in vector["entries"]]
    if vector["head"] is None:
        with pytest.raises(ValueError, match="does not follow"):
            fold(start, entries)
    else:
        assert fold(start, entries) == LogPoint(vector["head"]["n"], decode(vector["head"]["head"]))


def log_holds(vector: Any) -> bool:
    """From the words of the protocol page."""
    answer = vector["answer"]
    n, head = answer["base"]["n"], decode(answer["base"]["head"])
    for entry in answer["entries"]:
        if entry["n"] != n + 1:
            return False
        n = entry["n"]
        head = hashlib.sha256(b"\1message-inbox-log" + head + n.to_bytes(8, "big") + decode(entry["id"])).digest()
    try:
        claims = claims_of(answer["signed"], "inbox-head+jwt")
    except jwt.InvalidTokenError:
        return False
    expected = {
        "sub": VECTORS["owner"]["address"],
        "nonce": vector["nonce"],
        **{k: answer[k] for k in ("base", "head")},
    }
    return answer["head"] == {"n": n, "head": encode(head)} and bool(claims.items() >= expected.items())


@pytest.mark.parametrize("vector", VECTORS["logs"], ids=lambda vector: vector["what"])
def test_a_log_holds_or_not(vector: Any) -> None:
    assert log_holds(vector) is vector["good"]


@pytest.mark.parametrize("vector", VECTORS["logged"])
def test_what_lives_until_the_end_of_a_day_that_has_not_begun_is_logged(vector: Any) -> None:
    later = vector["expires"] // 86_400 > vector["now"] // 86_400
    assert vector["logged"] is (later and vector["expires"] % 86_400 == 86_399)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64, 511, 512])
def test_every_path_of_a_tree_has_nine_levels_and_leads_to_its_root(size: int) -> None:
    random_bytes = numbered(f"{size} leaves")
    leaves = [random_bytes(32) for _ in range(size)]
    root, paths = grow_tree(leaves, random_bytes)
    assert [len(path) for path in paths] == [LEVELS] * size
    assert {root_of(leaf, path) for leaf, path in zip(leaves, paths, strict=True)} == {root}
    shown = {node for path in paths for node in path}
    assert root not in shown
    assert shown & set(leaves) == (set(leaves) if size % 2 == 0 else set(leaves[:-1]))


@pytest.mark.parametrize("size", [0, 513])
def test_a_tree_without_leaves_or_with_more_than_a_commit_has_is_a_mistake(size: int) -> None:
    with pytest.raises(ValueError, match="512"):
        grow_tree([bytes(32)] * size, numbered("none"))


def test_a_signed_token_is_read_with_its_key_and_its_type_only() -> None:
    token = VECTORS["logs"][0]["answer"]["signed"]
    key, other = parse_key(VECTORS["receipt_key"]), parse_key(VECTORS["other_key"])
    assert read_signed(token, key, HEAD_TYPE) == claims_of(token, HEAD_TYPE)
    with pytest.raises(NotSigned, match="key"):
        read_signed(token, other, HEAD_TYPE)
    with pytest.raises(NotSigned, match="type"):
        read_signed(token, key, RECEIPT_TYPE)
    for bad in ("", "a.b", token + ".", token[:-1], token.replace(".", "..", 1), "é" + token):
        with pytest.raises(NotSigned):
            read_signed(bad, key, HEAD_TYPE)


def test_a_key_from_a_seed_is_within_the_order_and_signs_as_tokens_are_signed() -> None:
    for seed in (bytes(64), b"\xff" * 64, numbered("a seed")(64)):
        key = SigningKey.from_seed(seed)
        assert key.public.signed(b"text", key.sign(b"text"))
        assert key.public.address == app_address(bytes.fromhex(key.public.hex))
        assert "private" not in repr(key)


if __name__ == "__main__":
    FILE.write_text(json.dumps(made(), indent=1) + "\n", encoding="utf-8")
