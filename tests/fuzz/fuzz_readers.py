"""An atheris target: bytes for everything that reads what strangers, owners' wallets and operators wrote.

The first byte chooses the reader. From each only its documented exception may come, and a token that is accepted here
must be accepted by PyJWT. How to run it: README.md beside this file. `--seeds DIR` writes the seeds, and ends.
"""

# atheris is no dependency of the project, and has no types.
# mypy: disable-error-code="import-not-found, import-untyped"

import base64
import contextlib
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import atheris

ROOT: Final = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

# What is imported outside of this block is not instrumented.
with atheris.instrument_imports(include=["inbox_server", "jwt"]):
    import jwt

    from inbox_server.client.appkey import AppKey
    from inbox_server.clock import UnixTime
    from inbox_server.config import values as config_values
    from inbox_server.config.config import BadConfig
    from inbox_server.config.file import parse_config
    from inbox_server.config.keys import KEYS
    from inbox_server.errors import Refused
    from inbox_server.identity.addresses import (
        NotAnAddress,
        base58check_decode,
        c32check_decode,
        is_app_address,
        owner_hash,
    )
    from inbox_server.identity.keys import PublicKey, parse_key
    from inbox_server.identity.names import NotAnIdentity, is_origin, parse_recipient, parse_sender
    from inbox_server.outgoing.fetch import read_location
    from inbox_server.outgoing.guard import NotAllowed, check_stranger_url, read_url
    from inbox_server.protocol.bearer import DELIVER, read_bearer
    from inbox_server.protocol.bearer import OWNER as OWNER_TYPE
    from inbox_server.protocol.feed_json import parse_cursor, write_cursor
    from inbox_server.protocol.requests import parse_ack, parse_delivery, parse_settings
    from inbox_server.protocol.strict_json import NotStrict, parse_object
    from inbox_server.protocol.tokens import Scope, digest_of, read_deliver_token, read_owner_token
    from inbox_server.protocol.usual_bearer import read_usual_bearer
    from inbox_server.resolver.keyfile import read_key_file
    from inbox_server.resolver.profile import find_bucket, read_profile
    from inbox_server.resolver.zonefile import profile_url

from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, EllipticCurvePublicKey  # noqa: E402
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature  # noqa: E402

VECTORS: Final[Any] = json.loads((ROOT / "tests/vectors/tokens.json").read_text(encoding="utf-8"))
STACKS: Final[Any] = json.loads((ROOT / "tests/vectors/stacks.json").read_text(encoding="utf-8"))
AUDIENCE: Final[str] = VECTORS["audience"]
NOW: Final = UnixTime(VECTORS["now"])
ALICE: Final = AppKey.from_hex(VECTORS["keys"]["alice"]["private"])
OWNER: Final = AppKey.from_hex(STACKS["keys"]["aliceOwner"]["privateKey"])
OWNER_ADDRESS: Final[str] = STACKS["keys"]["aliceOwner"]["stacksMainnet"]
BUCKET: Final[str] = STACKS["keys"]["bobApp"]["btcAddress"]
SCOPES: Final[tuple[Scope, ...]] = ("read", "ack", "settings")
HUB: Final = read_url("https://hub.example/hub/")
BODIES: Final = tuple(sorted({case["body"] for case in VECTORS["cases"]}))
# Not what is compared here: PyJWT's clock is the machine's, and it has its own ideas of `sub` and `iat`.
ONLY_SIGNATURE_AND_AUDIENCE: Final[Any] = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}


def second_opinion(token: str, key: PublicKey) -> None:
    """What we accept PyJWT accepts."""
    point = EllipticCurvePublicKey.from_encoded_point(SECP256K1(), bytes.fromhex(key.hex))
    jwt.decode(token, point, algorithms=["ES256K"], audience=AUDIENCE, options=ONLY_SIGNATURE_AND_AUDIENCE)


def same_both_ways(authorization: str, expected_type: str) -> None:
    """What is read the fast way the strict way reads alike; it raises `Refused` where it is refused."""
    usual = read_usual_bearer(authorization, expected_type)
    if usual is not None:
        assert usual == read_bearer(authorization, expected_type)


def deliver(raw: bytes) -> None:
    """The first byte chooses the body that came with it; the rest is the header's value."""
    body, authorization = BODIES[raw[0] % len(BODIES)].encode() if raw else b"", raw[1:].decode("latin-1")
    same_both_ways(authorization, DELIVER)
    with contextlib.suppress(Refused):
        token = read_deliver_token(authorization, body, audience=AUDIENCE, now=NOW)
        key = token.key or (token.sender if isinstance(token.sender, PublicKey) else parse_key(ALICE.public))
        token.check_signature(key)
        second_opinion(authorization.split()[1], key)


def owner(raw: bytes) -> None:
    body, authorization = BODIES[raw[0] % len(BODIES)].encode() if raw else b"", raw[1:].decode("latin-1")
    same_both_ways(authorization, OWNER_TYPE)
    for scope in SCOPES:
        with contextlib.suppress(Refused):
            token = read_owner_token(authorization, body, scope=scope, audience=AUDIENCE, now=NOW)
            second_opinion(authorization.split()[1], token.key)


def _signed(key: AppKey, header: bytes, claims: bytes) -> str:
    message = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (header, claims))
    r, s = decode_dss_signature(key.sign(message.encode()))
    signature = base64.urlsafe_b64encode(r.to_bytes(32, "big") + s.to_bytes(32, "big")).rstrip(b"=").decode()
    return f"{message}.{signature}"


def signed(raw: bytes) -> None:
    """Header and claims as they are, up to a line feed and behind it, and rightly signed: past what bytes can guess."""
    header, _, claims = raw.partition(b"\n")
    body = BODIES[len(raw) % len(BODIES)]
    claims = claims.replace(b"$DIGEST", digest_of(body.encode()).encode())
    for read in (deliver, owner):
        read(bytes([BODIES.index(body)]) + b"Bearer " + _signed(ALICE, header, claims).encode())


def strict_json(raw: bytes) -> None:
    try:
        members = parse_object(raw)
    except NotStrict:
        return
    # One meaning: Python's own reader has the same, and what is written of it is read as the same.
    assert members == json.loads(raw)
    assert parse_object(json.dumps(members, ensure_ascii=False).encode()) == members


def zone_file(raw: bytes) -> None:
    profile_url(raw.decode("utf-8", "replace"))


def profile(raw: bytes) -> None:
    """The bytes as the file, and as the payload of a token that the owner signed."""
    token = _signed(OWNER, b'{"typ":"JWT","alg":"ES256K"}', raw)
    for body in (raw, json.dumps([{"token": token}]).encode()):
        with contextlib.suppress(Refused):
            claim = read_profile(body, owner=OWNER_ADDRESS)
            for app in ["https://someawesome.app", *(name for name in claim.get("apps", ()) if isinstance(name, str))]:
                with contextlib.suppress(Refused):
                    assert is_app_address(find_bucket(claim, app).address)


def key_file(raw: bytes) -> None:
    key = read_key_file(raw, BUCKET)
    assert key is None or key.address == BUCKET


def delivery_body(raw: bytes) -> None:
    with contextlib.suppress(Refused):
        assert 1 <= len(parse_delivery(raw).message_id) <= 1024


def ack_body(raw: bytes) -> None:
    with contextlib.suppress(Refused):
        assert all(len(id) == 32 for id in parse_ack(raw))


def settings_body(raw: bytes) -> None:
    with contextlib.suppress(Refused):
        parse_settings(raw, max_retention=90 * 86_400, list_entries=1000)


def cursor(raw: bytes) -> None:
    with contextlib.suppress(Refused):
        parsed = parse_cursor(raw.decode("latin-1"))
        assert parse_cursor(write_cursor(parsed)) == parsed


def addresses(raw: bytes) -> None:
    text = raw.decode("utf-8", "replace")
    is_app_address(text)
    for read in (base58check_decode, c32check_decode, owner_hash):
        with contextlib.suppress(NotAnAddress):
            read(text)


def identities(raw: bytes) -> None:
    text = raw.decode("utf-8", "replace")
    is_origin(text)
    for read in (parse_sender, parse_recipient):
        with contextlib.suppress(NotAnIdentity):
            read(text)


def config(raw: bytes) -> None:
    """Each of the configuration's keys with the bytes as a value, and the whole of them as a file."""
    text = raw.decode("utf-8", "replace")
    try:
        document = json.loads(text)  # TOML gives nothing that JSON cannot, but dates
    except (ValueError, RecursionError):
        document = text
    for key in KEYS:
        for value in (document, [document], text):
            with contextlib.suppress(ValueError, config_values.Mistakes):
                key.parse(value, ROOT)
    with contextlib.suppress(BadConfig):
        parse_config(document if isinstance(document, dict) else {"server": document}, ROOT)


def urls(raw: bytes) -> None:
    text = raw.decode("utf-8", "replace")
    with contextlib.suppress(NotAllowed):
        url = read_url(text)
        url.origin()
        check_stranger_url(url)
    with contextlib.suppress(NotAllowed):
        read_location(HUB, text)


READERS: Final[tuple[Callable[[bytes], None], ...]] = (
    *(deliver, owner, signed, strict_json, zone_file, profile, key_file, delivery_body, ack_body, settings_body),
    *(cursor, addresses, identities, config, urls),
)


def seeds() -> Iterator[tuple[Callable[[bytes], None], bytes]]:
    """For each reader, what the vectors have for it."""
    for case in VECTORS["cases"]:
        reader, body = deliver if case["type"] == "deliver" else owner, bytes([BODIES.index(case["body"])])
        yield reader, body + f"Bearer {case['token']}".encode("latin-1", "replace")
        header, claims = [*case["token"].split("."), ""][:2]
        with contextlib.suppress(ValueError):
            parts = [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in (header, claims)]
            yield signed, b"\n".join(parts).replace(digest_of(case["body"].encode()).encode(), b"$DIGEST")
            yield strict_json, parts[1]
    yield from ((zone_file, zone["zonefile"].encode()) for zone in STACKS["zonefiles"])
    for name in STACKS["names"]:
        yield profile, name["profileJsonText"].encode()
        key = {"publicKey": OWNER.public}
        yield profile, json.dumps({"subject": key, "issuer": key, "claim": name["claim"]}).encode()
        yield urls, name["bucketUrl"].encode()
        yield urls, name["profileUrl"].encode()
    yield from ((key_file, shape["body"].encode()) for shape in STACKS["publicKeyFileShapes"])
    yield delivery_body, b'{"message_id":"opaque","ttl":3600}'
    yield ack_body, json.dumps({"ids": [digest_of(b"a")]}).encode()
    lists = {"contacts": [BUCKET], "blocked": [BUCKET], "names": ["bob.id"], "invite": "abc"}
    yield settings_body, json.dumps({"retention": 3600, "accept": "contacts"} | lists).encode()
    yield cursor, base64.urlsafe_b64encode(bytes(24))
    for person in STACKS["keys"].values():
        yield from ((addresses, person[form].encode()) for form in ("btcAddress", "stacksMainnet", "btcTestnetAddress"))
        yield from ((identities, person[form].encode()) for form in ("btcAddress", "publicKeyCompressed"))
    yield from ((identities, text) for text in (b"bob.id", b"bob.id.blockstack", b"https://chat.example:8443"))
    yield from ((config, each.default.encode()) for each in KEYS)
    yield config, b'{"server":{"public_url":"https://inbox.example"}}'
    static = {"name": "bob.id", "app": "https://chat.example", "key": ALICE.public}
    yield config, json.dumps({"server": {"public_url": "https://i.example"}, "names": {"static": [static]}}).encode()
    yield from (
        (urls, text) for text in (b"../a?b#c", b"//evil.example/x", b"https://a@[::1]:443/", b"https://2130706433")
    )


def write_seeds(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for reader, raw in seeds():
        seed = bytes([READERS.index(reader)]) + raw
        (directory / hashlib.sha256(seed).hexdigest()).write_bytes(seed)


def one_input(raw: bytes) -> None:
    if raw:
        READERS[raw[0] % len(READERS)](raw[1:])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--seeds"]:
        write_seeds(Path(sys.argv[2]))
    else:
        atheris.Setup(sys.argv, one_input)
        atheris.Fuzz()
