"""The body of a delivery, and the `id` of the entry that it becomes."""

import hashlib
import json
from typing import Any

from inbox_server.protocol.base64url import encode


def delivery_body(message_id: str, ttl: int | None = None) -> bytes:
    members: dict[str, Any] = {"message_id": message_id} | ({} if ttl is None else {"ttl": ttl})
    return json.dumps(members).encode()


def asking_for_receipt(body: str) -> bytes:
    """The same delivery, for a server that lists the feature."""
    return json.dumps({**json.loads(body), "receipt": True}).encode()


def id_of(message_id: str) -> str:
    """The `id` by which every server lists it: base64url of its SHA-256."""
    return encode(hashlib.sha256(message_id.encode()).digest())


def entry_id(body: str | bytes) -> str:
    """The `id` of a delivery with this body."""
    return id_of(json.loads(body)["message_id"])
