"""Push messages and subscriptions, byte by byte: the RFC's own example, tokens, and what stands on the disk."""

import itertools
import secrets

import http_ece
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from inbox_server.clock import DAY_SECONDS, UnixTime
from inbox_server.identity.keyed_hash import KeyedHash
from inbox_server.identity.p256 import is_point, public_point
from inbox_server.notify.channel import Address
from inbox_server.notify.sealing import NotOurs, Sealer
from inbox_server.notify.vapid import VapidKey, private_number
from inbox_server.notify.webpush import PAYLOAD, WebPush, encrypt
from inbox_server.protocol.base64url import decode, encode
from inbox_server.protocol.push_subscription import MAX_ENDPOINT_CHARACTERS
from tests.conftest import HandClock

# RFC 8291, section 5 and appendix A.
PLAIN = b"When I grow up, I want to be a watermelon"
AUTH = decode("BTBZMqHH6r4Tts7J_aSIgg")
UA_PUBLIC = decode("BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4")
AS_PRIVATE = int.from_bytes(decode("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"), "big")
SALT = decode("DGv6ra1nlYgDCS1FRnbzlw")
MESSAGE = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_"
    "yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)
INBOX, OTHER_INBOX = b"the inbox of Bob", b"Carol's inbox..."
SERVICE = "https://push.example"
_UNCOMPRESSED = (Encoding.X962, PublicFormat.UncompressedPoint)


def subscription(endpoint: str = f"{SERVICE}/x") -> Address:
    return Address(endpoint, UA_PUBLIC + AUTH, since=UnixTime(20_000 * DAY_SECONDS))


def sealer_of(secret: bytes = bytes(32), channel: str = WebPush.kind.name) -> Sealer:
    return Sealer(KeyedHash(secret).sealing_key(channel), WebPush.kind, secrets.token_bytes)


def vapid(clock: HandClock, secret: bytes = bytes(32)) -> VapidKey:
    return VapidKey(KeyedHash(secret).vapid_seed(), subject="https://inbox.example", clock=clock)


def token_of(authorization: str) -> str:
    return authorization.removeprefix("vapid t=").split(", k=")[0]


def test_the_example_of_the_rfc_comes_out() -> None:
    pieces = iter([(AS_PRIVATE - 1).to_bytes(64, "big"), SALT])
    assert encode(encrypt(PLAIN, subscription(), lambda count: next(pieces))) == MESSAGE


def test_every_message_has_one_size_and_a_key_and_salt_of_its_own() -> None:
    browsers = [ec.generate_private_key(ec.SECP256R1()) for _ in range(20)]
    bodies: list[bytes] = []
    for browser in browsers:
        point = browser.public_key().public_bytes(*_UNCOMPRESSED)
        auth = secrets.token_bytes(16)
        body = encrypt(PAYLOAD, Address(SERVICE + "/" + "x" * len(bodies), point + auth), secrets.token_bytes)
        assert http_ece.decrypt(body, private_key=browser, auth_secret=auth) == PAYLOAD
        bodies.append(body)
    assert len({len(body) for body in bodies}) == 1
    for start, end in ((0, 16), (21, 86), (86, 200)):  # salt, key, what is encrypted
        assert len({body[start:end] for body in bodies}) == len(bodies)


def test_the_key_is_made_of_the_secret_and_of_nothing_else(clock: HandClock) -> None:
    first, again, other = vapid(clock), vapid(clock), vapid(clock, b"\1" * 32)
    assert first.public == again.public != other.public
    assert is_point(decode(first.public))


@pytest.mark.parametrize("seed", [bytes(64), b"\xff" * 64, (2**256 - 1).to_bytes(64, "big")])
def test_every_seed_leads_to_a_key(seed: bytes) -> None:
    assert is_point(public_point(private_number(seed)))


def test_a_token_is_for_one_push_service_and_names_the_server(clock: HandClock) -> None:
    key = vapid(clock)
    authorization = key.authorization(SERVICE)
    assert authorization.endswith(f", k={key.public}")
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), decode(key.public))
    token = token_of(authorization)
    claims = jwt.decode(token, public, algorithms=["ES256"], audience=SERVICE, options={"verify_exp": False})
    assert claims == {"aud": SERVICE, "exp": clock() + 12 * 3600, "sub": "https://inbox.example"}
    assert jwt.get_unverified_header(token) == {"typ": "JWT", "alg": "ES256"}


def test_a_token_is_kept_for_hours_and_never_until_it_ends(clock: HandClock) -> None:
    key = vapid(clock)
    first = key.authorization(SERVICE)
    assert key.authorization("https://other.example") != first
    clock.advance(6 * 3600 - 1)
    assert key.authorization(SERVICE) == first
    clock.advance(1)
    second = key.authorization(SERVICE)
    assert second != first
    clock.advance(-24 * 3600)  # a clock that was wrong and is set back: the token would be too far ahead
    third = token_of(key.authorization(SERVICE))
    assert jwt.decode(third, options={"verify_signature": False})["exp"] == clock() + 12 * 3600


def test_what_is_sealed_comes_out_and_has_one_size() -> None:
    sealer = sealer_of()
    endpoints = [SERVICE + "/", SERVICE + "/" + "x" * 300, "https://a.example/".ljust(MAX_ENDPOINT_CHARACTERS, "y")]
    sealed = [sealer.seal(subscription(endpoint), INBOX) for endpoint in endpoints]
    assert [sealer.open(each, INBOX) for each in sealed] == [subscription(endpoint) for endpoint in endpoints]
    assert len({len(each) for each in sealed}) == 1
    assert sealer.seal(subscription(), INBOX) != sealer.seal(subscription(), INBOX)


def test_what_is_sealed_opens_for_its_inbox_and_under_its_secret_only() -> None:
    sealer = sealer_of()
    sealed = sealer.seal(subscription(), INBOX)
    bent = [sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :] for place in range(0, len(sealed), 97)]
    for key, attempt, inbox in (
        (sealer, sealed, OTHER_INBOX),
        (sealer_of(b"\1" * 32), sealed, INBOX),
        (sealer_of(channel="other"), sealed, INBOX),
        *((sealer, each, INBOX) for each in (b"", sealed[:-1], sealed + b"x", *bent)),
    ):
        with pytest.raises(NotOurs):
            key.open(attempt, inbox)


def test_no_representation_shows_where_a_browser_is() -> None:
    assert SERVICE not in repr(subscription())
    assert repr(AUTH) not in repr(subscription())


def test_the_uses_of_the_secret_are_apart() -> None:
    hashes = KeyedHash(bytes(range(32)))
    made = (
        hashes.sealing_key("push"),
        hashes.sealing_key("matrix"),
        hashes.vapid_seed(),
        hashes.endpoint(INBOX, "seal"),
        hashes.endpoint(OTHER_INBOX, "seal"),
        hashes.listed(INBOX, "seal"),
        hashes.check_value(),
    )
    for one, other in itertools.combinations(made, 2):
        assert one[:16] != other[:16]
    assert (len(made[0]), len(made[2]), len(made[3])) == (32, 64, 16)
