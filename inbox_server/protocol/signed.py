"""Tokens that anybody may check with a key that they know: receipts, heads of logs. Compact JWS, ES256K (RFC 8812)."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from inbox_server.identity.keys import PublicKey
from inbox_server.protocol.base64url import NotBase64Url, decode, encode
from inbox_server.protocol.strict_json import NotStrict, parse_object


class NotSigned(ValueError):
    """The token is not what it should be. The message says why, and does not quote the token."""


def write_signed(sign: Callable[[bytes], bytes], claims: Mapping[str, Any], typ: str) -> str:
    """A token of these claims. `sign` makes 64 bytes, r then s, over SHA-256 of its argument."""
    signed = f"{_part({'typ': typ, 'alg': 'ES256K'})}.{_part(claims)}"
    return f"{signed}.{encode(sign(signed.encode()))}"


def read_signed(token: str, key: PublicKey, typ: str) -> dict[str, Any]:
    """The claims of a token of this type that `key` signed. Raises `NotSigned`."""
    try:
        header, payload, signature = token.split(".")
        is_type = parse_object(decode(header)) == {"typ": typ, "alg": "ES256K"}
        claims = parse_object(decode(payload))
        raw = decode(signature)
    except (NotBase64Url, NotStrict, ValueError):
        raise NotSigned("is not a token") from None
    if not is_type:
        raise NotSigned(f"is not of the type {typ}")
    if not key.signed(f"{header}.{payload}".encode(), raw):
        raise NotSigned("is not signed by this key")
    return claims


def _part(members: Mapping[str, Any]) -> str:
    return encode(json.dumps(dict(members), separators=(",", ":")).encode())
