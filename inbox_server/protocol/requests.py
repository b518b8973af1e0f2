"""Request bodies as the protocol defines them: exact members, checked before anything else is done."""

import re
from dataclasses import dataclass, field
from typing import Any, Final, get_args

from inbox_server.errors import Refused
from inbox_server.identity.addresses import is_app_address
from inbox_server.identity.names import NotAnIdentity, parse_name
from inbox_server.identity.p256 import is_point
from inbox_server.outgoing.guard import NotAllowed, read_stranger_url
from inbox_server.protocol.base64url import NotBase64Url, decode
from inbox_server.protocol.push_subscription import AUTH_BYTES, MAX_ENDPOINT_CHARACTERS, Subscription
from inbox_server.protocol.strict_json import NotStrict, parse_object
from inbox_server.store.contract import Accept

MAX_DELIVERY_BYTES: Final = 4096  # 1,024 characters, each escaped, and a ttl
MAX_OWNER_BYTES: Final = 64 * 1024
MAX_MESSAGE_ID_CHARACTERS: Final = 1024  # a padded encrypted ID has 816
MIN_TTL_SECONDS: Final = 10  # for presence and typing signals
MAX_ACK_IDS: Final = 1000
MAX_PROVEN_NAMES: Final = 5  # each costs a look-up
MIN_RETENTION_SECONDS: Final = 3600
MAX_SUBSCRIPTIONS: Final = 8  # browsers and devices of one owner

_INVITE: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PRINTABLE: Final = re.compile(r"[\x20-\x7e]+")
# As clients write it. An encrypted ID is itself JSON, so its quotes are escaped, and nothing else is.
_PLAIN: Final = r"[ !#-\[\]-~]*+"
USUAL_MESSAGE_ID: Final = rf'{{"message_id": ?"({_PLAIN}(?:\\"{_PLAIN})*+)"'
USUAL_OPTIONS: Final = r'(?:, ?"ttl": ?([1-9][0-9]{0,15}))?(?:, ?"receipt": ?(true|false))?'
_USUAL_DELIVERY: Final = re.compile(f"{USUAL_MESSAGE_ID}{USUAL_OPTIONS}}}")


@dataclass(frozen=True, slots=True)
class DeliveryBody:
    """`ttl` is in seconds; None leaves the lifetime to the owner and the server. `receipt` asks for one."""

    message_id: str
    ttl: int | None
    receipt: bool = False


@dataclass(frozen=True, slots=True)
class SettingsBody:
    """None leaves a setting as it is. Lists are of app addresses."""

    retention: int | None = None
    accept: Accept | None = None
    contacts: tuple[str, ...] | None = None
    blocked: tuple[str, ...] | None = None
    names: tuple[str, ...] | None = None
    invite: str | None = None


def parse_delivery(body: bytes) -> DeliveryBody:
    """Raises `Refused`."""
    return parse_usual_delivery(body) or parse_any_delivery(body)


def parse_usual_delivery(body: bytes) -> DeliveryBody | None:
    """A body of the usual form in a fifth of the time. None of any other, which may be good or bad."""
    match = _USUAL_DELIVERY.fullmatch(body.decode("latin-1"))
    return usual_delivery_of(*match.groups()) if match else None


def usual_delivery_of(message_id: str, ttl: str | None, receipt: str | None) -> DeliveryBody | None:
    """What the groups of the two usual forms say of a delivery. None if a value may not be so."""
    message_id, seconds = message_id.replace('\\"', '"'), None if ttl is None else int(ttl)
    if not 1 <= len(message_id) <= MAX_MESSAGE_ID_CHARACTERS or (seconds is not None and seconds < MIN_TTL_SECONDS):
        return None
    return DeliveryBody(message_id, seconds, receipt == "true")


def parse_any_delivery(body: bytes) -> DeliveryBody:
    """Every body that is taken. Raises `Refused`."""
    return delivery_of(members_of(body, {"message_id", "ttl", "receipt"}))


def delivery_of(members: dict[str, Any]) -> DeliveryBody:
    """What the members of a body say of a delivery. Raises `Refused`."""
    if "message_id" not in members:
        raise bad_request("message_id", "is missing")
    message_id = text_of(members, "message_id")
    if len(message_id) > MAX_MESSAGE_ID_CHARACTERS or not _PRINTABLE.fullmatch(message_id):
        raise bad_request("message_id", f"must be 1 to {MAX_MESSAGE_ID_CHARACTERS} printable ASCII characters")
    ttl = members.get("ttl")
    if "ttl" in members and (type(ttl) is not int or ttl < MIN_TTL_SECONDS):
        raise bad_request("ttl", f"must be a whole number of seconds, {MIN_TTL_SECONDS} or more")
    receipt = members.get("receipt", False)
    if not isinstance(receipt, bool):
        raise bad_request("receipt", "must be true or false")
    return DeliveryBody(message_id, ttl, receipt)


def parse_ack(body: bytes) -> tuple[bytes, ...]:
    """The ids to acknowledge, 32 bytes each. Raises `Refused`."""
    members = members_of(body, {"ids"})
    if "ids" not in members:
        raise bad_request("ids", "is missing")
    return tuple(_id(text) for text in _texts(members, "ids", MAX_ACK_IDS) or ())


def parse_settings(body: bytes, *, max_retention: int, list_entries: int) -> SettingsBody:
    """Raises `Refused`."""
    members = members_of(body or b"{}", {"retention", "accept", "contacts", "blocked", "names", "invite"})
    retention = members.get("retention")
    if "retention" in members and (
        type(retention) is not int or not MIN_RETENTION_SECONDS <= retention <= max_retention
    ):
        raise bad_request("retention", f"must be {MIN_RETENTION_SECONDS} to {max_retention} seconds")
    accept = members.get("accept")
    if "accept" in members and accept not in get_args(Accept):
        raise bad_request("accept", f"must be one of {', '.join(get_args(Accept))}")
    invite = text_of(members, "invite") if "invite" in members else None
    if invite is not None and not _INVITE.fullmatch(invite):
        raise bad_request("invite", "must be a code as `inbox-server invite new` prints it")
    return SettingsBody(
        retention=retention,
        accept=accept,
        contacts=_addresses(members, "contacts", list_entries),
        blocked=_addresses(members, "blocked", list_entries),
        names=_names(members),
        invite=invite,
    )


def parse_subscription(body: bytes, *, allow: frozenset[str]) -> Subscription:
    """What `PushSubscription.toJSON()` gives in a browser; `allow`: origins without a guard. Raises `Refused`."""
    members = members_of(body, {"endpoint", "keys", "expirationTime"})
    if not isinstance(members.get("expirationTime", 0), int | None) or isinstance(members.get("expirationTime"), bool):
        raise bad_request("expirationTime", "must be a whole number, or null")  # unused: the push service reports it
    keys = members.get("keys")
    if not isinstance(keys, dict) or keys.keys() != {"p256dh", "auth"}:
        raise bad_request("keys", "must have p256dh and auth, and nothing else")
    p256dh, auth = _raw(keys, "p256dh"), _raw(keys, "auth")
    if not is_point(p256dh):
        raise bad_request("p256dh", "must be an uncompressed point on P-256, in base64url without padding")
    if len(auth) != AUTH_BYTES:
        raise bad_request("auth", f"must be {AUTH_BYTES} bytes, in base64url without padding")
    return Subscription(stranger_url_of(members, "endpoint", MAX_ENDPOINT_CHARACTERS, allow), p256dh, auth)


@dataclass(frozen=True, slots=True)
class Unsubscription:
    """Which subscription to drop: exactly one of the two is set."""

    where: str | None = field(repr=False)
    short_id: str | None


def parse_unsubscription(body: bytes, member: str) -> Unsubscription | None:
    """The subscription to drop, whose address the channel calls `member`; None for all. Raises `Refused`."""
    if not body:
        return None
    members = members_of(body, {member, "id"})
    if len(members) != 1:
        raise bad_request(member, "or `id` must be there, and not both; an empty body drops all subscriptions")
    where = text_of(members, member) if member in members else None
    return Unsubscription(where, text_of(members, "id") if where is None else None)


def stranger_url_of(members: dict[str, Any], member: str, most: int, allow: frozenset[str]) -> str:
    """A URL that an owner names, of at most `most` characters; `allow`: origins without a guard. Raises `Refused`."""
    if member not in members:
        raise bad_request(member, "is missing")
    url = text_of(members, member)
    if len(url) > most:
        raise bad_request(member, f"must have at most {most} characters")
    try:
        read_stranger_url(url, allow=allow)
    except NotAllowed as error:
        raise bad_request(member, str(error)) from None
    return url


def _raw(members: dict[str, Any], member: str) -> bytes:
    try:
        return decode(text_of(members, member))
    except NotBase64Url:
        raise bad_request(member, "must be base64url without padding") from None


def bad_request(member: str, rule: str) -> Refused:
    return Refused("bad_request", f"`{member}` {rule}.", member=member)


def members_of(body: bytes, known: set[str]) -> dict[str, Any]:
    """The members of a body that may have these and no others. Raises `Refused`."""
    try:
        members = parse_object(body)
    except NotStrict as error:
        raise bad_request("body", str(error)) from None
    if not members.keys() <= known:  # the extra member's name is the caller's text and is not repeated
        raise bad_request("body", f"must hold nothing but {', '.join(sorted(known))}")
    return members


def text_of(members: dict[str, Any], member: str) -> str:
    """A member that is there and must be a string. Raises `Refused`."""
    text = members[member]
    if not isinstance(text, str):
        raise bad_request(member, "must be a string")
    return text


def _texts(members: dict[str, Any], member: str, most: int) -> tuple[str, ...] | None:
    if member not in members:
        return None
    texts = members[member]
    if not isinstance(texts, list) or len(texts) > most or not all(isinstance(text, str) for text in texts):
        raise bad_request(member, f"must be an array of at most {most} strings")
    return tuple(texts)


def _addresses(members: dict[str, Any], member: str, most: int) -> tuple[str, ...] | None:
    addresses = _texts(members, member, most)
    if addresses is not None and not all(is_app_address(address) for address in addresses):
        raise bad_request(member, "must hold app addresses (base58check, version 0) only")
    return addresses


def _names(members: dict[str, Any]) -> tuple[str, ...] | None:
    names = _texts(members, "names", MAX_PROVEN_NAMES)
    try:
        return None if names is None else tuple(parse_name(name).text for name in names)
    except NotAnIdentity as error:
        raise bad_request("names", f"holds one that {error}") from None


def _id(text: str) -> bytes:
    try:
        raw = decode(text)
    except NotBase64Url:
        raw = b""
    if len(raw) != 32:
        raise bad_request("ids", "must hold ids as they were listed: 43 characters of base64url")
    return raw
