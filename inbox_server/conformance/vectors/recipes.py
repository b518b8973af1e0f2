"""How a token of the table is made: a good one, bent in one place, signed by a key, or put together by hand."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from inbox_server.client.appkey import AppKey
from inbox_server.identity.addresses import base58check_encode, c32check_encode, hash160
from inbox_server.protocol.base64url import decode, encode

GROUP_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
FIELD_PRIME: Final = 2**256 - 2**32 - 977
BODIES: Final = {"deliver": b'{"message_id":"opaque"}', "read": b"", "ack": b'{"ids":[]}', "settings": b"{}"}
TYPES: Final = {"deliver": "inbox-deliver+jwt"}
OWNER_TYPE: Final = "inbox-owner+jwt"
_TESTNET_VERSION: Final = 111
_STACKS_VERSION: Final = 22

Text = Callable[[str], str | bytes]
Edit = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Vector:
    """A token for one kind of request. `code` is the refusal's, empty if it must be accepted; `member` what it names.

    `sent` is the body that comes with it.
    """

    name: str
    kind: str
    sent: bytes
    token: str = field(repr=False)
    code: str
    member: str
    reason: str


@dataclass(frozen=True, slots=True)
class Names:
    """How the table calls people: names of two and of three labels. Whether they lead anywhere is the run's matter."""

    sender: str
    sender_below: str
    recipient: str
    recipient_2: str
    recipient_below: str


@dataclass(frozen=True, slots=True)
class Recipes:
    """Alice signs, for Bob or for her own inbox; Mallory signs what she may not."""

    now: int
    audience: str
    app: str
    alice: AppKey
    bob: AppKey
    mallory: AppKey
    names: Names

    def claims(
        self,
        kind: str,
        body: bytes | None = None,
        changed: Mapping[str, Any] | None = None,
        without: tuple[str, ...] = (),
    ) -> dict[str, Any]:
        own: dict[str, Any]
        if kind == "deliver":
            own = {"iss": self.names.sender, "key": self.alice.public, "sub": self.names.recipient}
        else:
            own = {"iss": self.alice.public, "scope": kind}
        own |= {"app": self.app, "aud": self.audience, "iat": self.now, "exp": self.now + 300}
        digest = {} if kind == "read" else {"digest": digest_of(BODIES[kind] if body is None else body)}
        return {name: value for name, value in (own | digest | dict(changed or {})).items() if name not in without}

    def make(
        self,
        kind: str,
        *,
        body: bytes | None = None,
        claims: Mapping[str, Any] | None = None,
        without: tuple[str, ...] = (),
        header: Mapping[str, Any] | None = None,
        header_text: Text = str,
        claims_text: Text = str,
        key: AppKey | None = None,
        edit: Edit = str,
    ) -> str:
        """`header` and `claims` change members; `…_text` change the JSON of them; `edit` the finished token."""
        all_header = {"typ": TYPES.get(kind, OWNER_TYPE), "alg": "ES256K", **(header or {})}
        all_claims = self.claims(kind, body, claims, without)
        parts = [part_of(header_text(json_of(all_header))), part_of(claims_text(json_of(all_claims)))]
        return edit(self.sign(*parts, key=key))

    def vector(
        self,
        name: str,
        kind: str,
        reason: str,
        *,
        code: str = "",
        member: str = "",
        token: str | None = None,
        sent: bytes | None = None,
        body: bytes | None = None,
        **how: Any,
    ) -> Vector:
        """One that must be accepted, unless there is a `code`. `how` is for `make`, unless there is a `token`."""
        body = BODIES[kind] if body is None else body
        made = self.make(kind, body=body, **how) if token is None else token
        return Vector(name, kind, body if sent is None else sent, made, code, member, reason)

    def refused(self, name: str, kind: str, member: str, reason: str, **how: Any) -> Vector:
        return self.vector(name, kind, reason, code="bad_token", member=member, **how)

    def sign(self, header: str, claims: str, *, key: AppKey | None = None) -> str:
        """Two parts, signed as they are."""
        message = f"{header}.{claims}"
        r, s = read_der((key or self.alice).sign(message.encode()))
        return f"{message}.{encode(bytes_of(r, s))}"

    def edit_and_sign(self, index: int, change: Edit) -> Edit:
        return lambda token: self.sign(*edit_part(index, change)(token).split(".")[:2])

    def der(self, token: str) -> str:
        return encode(self.alice.sign(token.rpartition(".")[0].encode()))


def digest_of(body: bytes) -> str:
    return encode(hashlib.sha256(body).digest())


def json_of(members: Mapping[str, Any]) -> str:
    return json.dumps(members, separators=(",", ":"), ensure_ascii=False)


def part_of(text: str | bytes) -> str:
    return encode(text.encode() if isinstance(text, str) else text)


def edit_part(index: int, change: Edit) -> Edit:
    def edit(token: str) -> str:
        parts = token.split(".")
        parts[index] = change(parts[index])
        return ".".join(parts)

    return edit


def edit_signature(change: Callable[[int, int], bytes]) -> Edit:
    """`change` gets r and s as numbers, and gives what stands in the place of the signature."""

    def edit(part: str) -> str:
        raw = decode(part)
        return encode(change(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")))

    return edit_part(2, edit)


def flip(token: str) -> str:
    """The same token with the other s: as valid as the first."""
    return edit_signature(lambda r, s: bytes_of(r, GROUP_ORDER - s))(token)


def bytes_of(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(32, "big") for number in numbers)


def read_der(signature: bytes) -> tuple[int, int]:
    """r and s of a DER signature (SEQUENCE of two INTEGERs)."""
    length = signature[3]
    r, rest = signature[4 : 4 + length], signature[4 + length :]
    return int.from_bytes(r, "big"), int.from_bytes(rest[2 : 2 + rest[1]], "big")


def loosen(part: str) -> str:
    """Another last character, whose unused bits are not zero: it decodes to the same bytes, loosely."""
    return part[:-1] + chr(ord(part[-1]) + 1)


def uncompressed(key: AppKey) -> str:
    """The key as 130 hex characters, 04 first."""
    x = int(key.public[2:], 16)
    y = pow(pow(x, 3, FIELD_PRIME) + 7, (FIELD_PRIME + 1) // 4, FIELD_PRIME)
    y = y if y % 2 == int(key.public[:2], 16) % 2 else FIELD_PRIME - y
    return f"04{x:064x}{y:064x}"


def other_addresses(key: AppKey) -> dict[str, str]:
    """Addresses that are not a bucket's, or not written as one."""
    digest = hash160(bytes.fromhex(key.public))
    last = "6" if key.address[-1] != "6" else "7"
    return {
        "of a testnet": base58check_encode(_TESTNET_VERSION, digest),
        "of Stacks": c32check_encode(_STACKS_VERSION, digest),
        "as a DID": f"did:btc-addr:{key.address}",
        "of a script": "34bNQUVgyhSrA8XpM4HkerHUUdNmLpiyj7",
        "with a wrong checksum": key.address[:-1] + last,
        "after a one too many": f"1{key.address}",
        "after a space": f" {key.address}",
    }
