"""Requests made and signed before the clock starts: all-different deliveries, and queries with a token to reuse.

Tokens are put together here and signed by coincurve, because the client's own way takes ten times as long and a run
needs tens of thousands. All requests of one file have one length, so that the generator can read them without parsing.
"""

import base64
import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import coincurve

from inbox_server.client.tickets import id_of, week_of
from inbox_server.clock import UnixTime
from inbox_server.identity.addresses import app_address
from inbox_server.protocol.base64url import encode

APP: Final = "https://chat.example"
MESSAGE_ID_CHARACTERS: Final = 600
_DELIVER_SECONDS: Final = 300
_READ_SECONDS: Final = 3600
_OWNER_SECONDS: Final = 300
_VARIANTS: Final = 1000
_ADDRESS_CHARACTERS: Final = 34


@dataclass(frozen=True, slots=True)
class Person:
    """An app key; a sender or an owner."""

    key: coincurve.PrivateKey
    public: str

    @property
    def address(self) -> str:
        return app_address(bytes.fromhex(self.public))


def people(count: int) -> list[Person]:
    """As many new keys, all with addresses of the most frequent length, so that requests have one length too."""
    found: list[Person] = []
    while len(found) < count:
        key = coincurve.PrivateKey(secrets.token_bytes(32))
        person = Person(key, key.public_key.format().hex())
        found += [person] if len(person.address) == _ADDRESS_CHARACTERS else []
    return found


def message_id(characters: int = MESSAGE_ID_CHARACTERS) -> str:
    """What nobody but its recipient could tell from any other, in JSON, as clients encrypt it: with quotes in it."""
    members = {"iv": os.urandom(16).hex(), "ephemeralPK": os.urandom(33).hex(), "mac": os.urandom(32).hex()}
    known = {**members, "wasString": True, "cipherTextEncoding": "base64", "cipherText": ""}
    left = characters - len(json.dumps(known, separators=(",", ":")))
    text = base64.b64encode(os.urandom(left)).decode()[:left]
    return json.dumps({**known, "cipherText": text}, separators=(",", ":"))


def delivery(
    sender: Person, recipient: Person, url: str, characters: int = MESSAGE_ID_CHARACTERS, *, receipt: bool = False
) -> bytes:
    """`POST /v1/messages` as it goes over the wire."""
    members = {"message_id": message_id(characters)} | ({"receipt": True} if receipt else {})
    body = json.dumps(members, separators=(",", ":")).encode()
    now = int(time.time())
    claims = {
        "iss": sender.public,
        "sub": recipient.public,
        "app": APP,
        "aud": url,
        "digest": encode(hashlib.sha256(body).digest()),
        "iat": now,
        "exp": now + _DELIVER_SECONDS,
    }
    return _head("POST", "/v1/messages", url, _token(sender, "inbox-deliver+jwt", claims), len(body)) + body


def sealed_delivery(ticket: bytes, recipient: Person, url: str, characters: int = MESSAGE_ID_CHARACTERS) -> bytes:
    """`POST /v1/messages` with a ticket."""
    members = {"message_id": message_id(characters), "to": recipient.address}
    body = json.dumps(members, separators=(",", ":")).encode()
    return _head("POST", "/v1/messages", url, f"InboxTicket {encode(ticket)}", len(body)) + body


def sheet(owner: Person, url: str, tickets: Sequence[bytes]) -> bytes:
    """`PUT /v1/inbox/tickets` for this week."""
    ids = b"".join(sorted(id_of(ticket) for ticket in tickets))
    body = json.dumps({"week": week_of(UnixTime(int(time.time()))), "ids": encode(ids)}).encode()
    return _owned(owner, url, "PUT", "/v1/inbox/tickets", "settings", body)


def query(owner: Person, url: str, parameters: str = "", *, variant: int = 0) -> bytes:
    """`GET /v1/messages` with a token that lasts longer than any run; another `variant` gives another token."""
    return _reading(owner, url, "/v1/messages" + parameters, lifetime=_READ_SECONDS - variant % _VARIANTS)


def events(owner: Person, url: str) -> bytes:
    """`GET /v1/events`."""
    return _reading(owner, url, "/v1/events")


def settings(owner: Person, url: str) -> bytes:
    """`GET /v1/inbox`."""
    return _reading(owner, url, "/v1/inbox")


def _reading(owner: Person, url: str, target: str, *, lifetime: int = _READ_SECONDS) -> bytes:
    now = int(time.time())
    claims = {"iss": owner.public, "app": APP, "aud": url, "scope": "read", "iat": now, "exp": now + lifetime}
    return _head("GET", target, url, _token(owner, "inbox-owner+jwt", claims))


def claim(owner: Person, url: str) -> bytes:
    """`PUT /v1/inbox`, for deliveries from anyone."""
    return _owned(owner, url, "PUT", "/v1/inbox", "settings", b'{"accept":"anyone"}')


def acknowledgement(owner: Person, url: str, ids: Sequence[str]) -> bytes:
    """`POST /v1/messages/ack`."""
    return _owned(owner, url, "POST", "/v1/messages/ack", "ack", json.dumps({"ids": ids}).encode())


def giving_up(owner: Person, url: str) -> bytes:
    """`DELETE /v1/inbox`."""
    return _owned(owner, url, "DELETE", "/v1/inbox", "settings", b"")


def _owned(owner: Person, url: str, method: str, target: str, scope: str, body: bytes) -> bytes:
    now = int(time.time())
    claims = {
        "iss": owner.public,
        "app": APP,
        "aud": url,
        "scope": scope,
        "digest": encode(hashlib.sha256(body).digest()),
        "iat": now,
        "exp": now + _OWNER_SECONDS,
    }
    return _head(method, target, url, _token(owner, "inbox-owner+jwt", claims), len(body)) + body


def capabilities(url: str) -> bytes:
    """`GET /.well-known/message-inbox`, which needs no token."""
    return _head("GET", "/.well-known/message-inbox", url)


def _head(method: str, target: str, url: str, authorization: str | None = None, length: int | None = None) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", f"Host: {url.removeprefix('http://')}"]
    if authorization is not None:
        lines.append(f"Authorization: {authorization}")
    if length is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {length}"]
    return "\r\n".join([*lines, "", ""]).encode()


def _token(signer: Person, typ: str, claims: dict[str, Any]) -> str:
    header, payload = (
        encode(json.dumps(part, separators=(",", ":")).encode()) for part in ({"typ": typ, "alg": "ES256K"}, claims)
    )
    signed = f"{header}.{payload}"
    return f"Bearer {signed}.{encode(signer.key.sign_recoverable(signed.encode())[:64])}"


@dataclass(frozen=True, slots=True)
class Requests:
    """A file of requests, one after another, each of `size` bytes."""

    path: Path
    size: int
    count: int


def write_requests(path: Path, requests: Iterator[bytes], count: int) -> Requests:
    """The first `count` of them in a file."""
    size = 0
    with path.open("wb") as file:
        for request in islice(requests, count):
            size = size or len(request)
            assert len(request) == size, "the generator reads requests of one length"
            file.write(request)
    return Requests(path, size, count)


def deliveries(
    senders: Sequence[Person],
    recipients: Sequence[Person],
    url: str,
    characters: int = MESSAGE_ID_CHARACTERS,
    *,
    receipt: bool = False,
) -> Iterator[bytes]:
    """Without end, all different, the senders and the recipients in turn."""
    number = 0
    while True:
        # Another sender for the same recipient each time around.
        sender = senders[(number + number // len(recipients)) % len(senders)]
        yield delivery(sender, recipients[number % len(recipients)], url, characters, receipt=receipt)
        number += 1
