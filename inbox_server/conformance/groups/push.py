"""Group `push`: Web Push, rooms of Matrix, and owners' URLs. Whether notifications arrive, no case can see."""

import hashlib
import json
import re
from typing import Any, Final

from inbox_server.conformance.bench import Bench
from inbox_server.conformance.cases import Failed, Group
from inbox_server.conformance.inboxes import Inbox
from inbox_server.conformance.replies import Reply
from inbox_server.protocol.base64url import NotBase64Url, decode, encode

GROUP: Final = Group("push", "put-v1inboxpush-be-told-by-web-push")
_LIST: Final = "get-v1inboxpush"
_DELETE: Final = "delete-v1inboxpush"
_ROOM: Final = "put-v1inboxmatrix-be-told-in-a-matrix-room"
_PATH: Final = "/v1/inbox/push"
_ROOM_PATH: Final = "/v1/inbox/matrix"
_URL: Final = "put-v1inboxwebhook-have-a-url-of-your-own-told"
_URL_PATH: Final = "/v1/inbox/webhook"
_FEATURE: Final = "push-list"
# The generator of P-256 (FIPS 186): a point, as a browser's key is one. Nothing is ever sent to it.
_POINT: Final = bytes.fromhex(
    "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)
_SERVICE: Final = "https://push.example.net"  # nobody's (RFC 2606), and no case delivers while it is subscribed
_POINT_BYTES: Final = 65
_MOST: Final = 8
_DAY_SECONDS: Final = 86_400


def _subscription(bench: Bench, **changed: Any) -> dict[str, Any]:
    """As `PushSubscription.toJSON()` gives it."""
    keys = {"p256dh": encode(_POINT), "auth": encode(bench.random_bytes(16))}
    endpoint = f"{_SERVICE}/wpush/v2/{bench.text(40)}"
    return {"endpoint": endpoint, "expirationTime": None, "keys": keys} | changed


async def _put(inbox: Inbox, subscription: Any) -> Reply:
    return await inbox.ask("PUT", _PATH, "settings", json.dumps(subscription).encode())


async def _drop(inbox: Inbox, members: dict[str, str] | None = None) -> Reply:
    return await inbox.ask("DELETE", _PATH, "settings", json.dumps(members).encode() if members else b"")


async def _count(inbox: Inbox) -> int:
    return (await inbox.get()).expect(200).number("push")


def _check_count(count: int, expected: int, when: str) -> None:
    if count != expected:
        raise Failed(f"`push` is {count}, not {expected}, {when}")


@GROUP.required("Web Push is optional.", section="get-well-knownmessage-inbox")
async def without_push_there_is_none(bench: Bench, inbox: Inbox) -> None:
    """A server without `push` in its document has no such path, no such limit, and counts 0 subscriptions."""
    limits = bench.document.get("limits")
    has_limit = isinstance(limits, dict) and "push_subscriptions" in limits
    if has_limit != ("push" in bench.document):
        raise Failed("one of `push` and the limit push_subscriptions is there without the other")
    if not has_limit:
        (await _put(inbox, _subscription(bench))).refused("not_found", why="without push")
        _check_count(await _count(inbox), 0, "without push")


@GROUP.required("browser needs the server's key, `push.vapid_key` in the capability document", part="push")
async def the_servers_key_is_a_point(bench: Bench) -> None:
    """`push.vapid_key` is a public key as browsers take it: 65 bytes of a point, in base64url without padding."""
    push = bench.document.get("push")
    key = push.get("vapid_key") if isinstance(push, dict) else None
    try:
        raw = decode(key) if isinstance(key, str) else b""
    except NotBase64Url:
        raw = b""
    if len(raw) != _POINT_BYTES or raw[0] != 4:
        raise Failed("`push.vapid_key` is not base64url of an uncompressed point")


@GROUP.required("exactly as `PushSubscription.toJSON()` gives it", part="push")
async def a_subscription_is_kept_until_it_is_dropped(bench: Bench, inbox: Inbox) -> None:
    """A browser's subscription is taken with 204 and counted; dropping it, once and again, is 204 too."""
    one, two = _subscription(bench), _subscription(bench, expirationTime=1_900_000_000_000)
    del one["expirationTime"]
    for count, subscription in enumerate((one, two), start=1):
        (await _put(inbox, subscription)).expect(204)
        _check_count(await _count(inbox), count, "after a subscription")
    for _ in range(2):
        (await _drop(inbox, {"endpoint": one["endpoint"]})).expect(204)
        _check_count(await _count(inbox), 1, "after one of two was dropped")


@GROUP.required("an empty body drops all. 204, even when there was none.", section=_DELETE, part="push")
async def an_empty_body_drops_all(bench: Bench, inbox: Inbox) -> None:
    """DELETE with an empty body drops every subscription, and is 204 even when there is none."""
    for _ in range(2):
        (await _put(inbox, _subscription(bench))).expect(204)
    for _ in range(2):
        (await _drop(inbox)).expect(204)
        _check_count(await _count(inbox), 0, "after all were dropped")


@GROUP.required("The same endpoint again replaces its keys.", part="push")
async def the_same_endpoint_again_is_one(bench: Bench, inbox: Inbox) -> None:
    """The same endpoint with other keys is still one subscription."""
    first = _subscription(bench)
    for subscription in (first, first, _subscription(bench, endpoint=first["endpoint"])):
        (await _put(inbox, subscription)).expect(204)
    _check_count(await _count(inbox), 1, "after the same endpoint came again")
    (await _drop(inbox)).expect(204)


@GROUP.required(
    "An inbox has at most 8 subscriptions. Another one is refused as `bad_request` with the member `endpoint`",
    part="push",
)
async def one_subscription_too_many_is_refused(bench: Bench, inbox: Inbox) -> None:
    """One more subscription than there may be is a `bad_request` that names `endpoint`; the others stay."""
    if (most := bench.limit("push_subscriptions")) != _MOST:
        raise Failed(f"push_subscriptions is {most}, not {_MOST}")
    kept = [_subscription(bench) for _ in range(most)]
    for subscription in kept:
        (await _put(inbox, subscription)).expect(204)
    (await _put(inbox, _subscription(bench))).refused("bad_request", member="endpoint", why="one too many")
    (await _put(inbox, kept[0])).expect(204, why="one that is there, when no more may be")
    _check_count(await _count(inbox), most, "after one too many was refused")
    (await _drop(inbox)).expect(204)


@GROUP.required("The endpoint is an https URL of a public name at the usual port", part="push")
async def an_endpoint_elsewhere_is_refused(bench: Bench, inbox: Inbox) -> None:
    """An endpoint that is not https at a public name, at the usual port, or too long, is a `bad_request`."""
    for endpoint in (
        "http://push.example.net/x",
        "https://push.example.net:8443/x",
        "https://127.0.0.1/x",
        "https://[::1]/x",
        "https://10.0.0.1/x",
        "https://169.254.169.254/latest",
        "https://localhost/x",
        "https://user@push.example.net/x",
        "file:///etc/passwd",
        "push.example.net/x",
        "",
        f"{_SERVICE}/{'x' * 1024}",
    ):
        reply = await _put(inbox, _subscription(bench, endpoint=endpoint))
        reply.refused("bad_request", why=f"with the endpoint {endpoint:.40}")
    _check_count(await _count(inbox), 0, "after subscriptions that were refused")


@GROUP.required("exactly as `PushSubscription.toJSON()` gives it", part="push")
async def a_subscription_of_another_shape_is_refused(bench: Bench, inbox: Inbox) -> None:
    """A subscription without a browser's keys, or with more than they have, is a `bad_request`."""
    good = _subscription(bench)
    point, auth = good["keys"]["p256dh"], good["keys"]["auth"]
    for keys in (
        None,
        {},
        {"p256dh": point},
        {"p256dh": point, "auth": auth, "more": "x"},
        {"p256dh": point, "auth": auth[:-2]},
        {"p256dh": point[:-4], "auth": auth},
        {"p256dh": encode(b"\x04" + b"\x01" * 64), "auth": auth},
        {"p256dh": f"{point}=", "auth": auth},
        {"p256dh": 1, "auth": auth},
    ):
        (await _put(inbox, good | {"keys": keys})).refused("bad_request", why=f"with the keys {json.dumps(keys):.30}")
    for changed in ({"more": 1}, {"expirationTime": "never"}, {"endpoint": None}):
        (await _put(inbox, good | changed)).refused("bad_request", why=f"with {json.dumps(changed)}")
    _check_count(await _count(inbox), 0, "after subscriptions that were refused")


@GROUP.required(
    "`id` is the first 16 characters of the endpoint's SHA-256",
    section=_LIST,
    feature=_FEATURE,
    part="push",
)
async def subscriptions_are_listed(bench: Bench, inbox: Inbox) -> None:
    """`GET /v1/inbox/push` lists the `id`, the `service` and the day (`since`) of each subscription."""
    made = [_subscription(bench) for _ in range(3)]
    for subscription in made:
        (await _put(inbox, subscription)).expect(204)
    listed = (await inbox.ask("GET", _PATH, "read")).expect(200).members.get("subscriptions")
    today = bench.now() // _DAY_SECONDS * _DAY_SECONDS
    expected = {_short(each["endpoint"]): {"service": _SERVICE, "since": today} for each in made}
    if not isinstance(listed, list) or {each.pop("id", ""): each for each in listed} != expected:
        raise Failed("the list is not of the id, the service and the day of each subscription")
    (await _drop(inbox)).expect(204)


@GROUP.required('or `{"id": "…"}` drops that subscription', section=_DELETE, feature=_FEATURE, part="push")
async def a_subscription_is_dropped_by_its_id(bench: Bench, inbox: Inbox) -> None:
    """A subscription is dropped by the `id` that the list gives; an unknown one is 204 too."""
    one, two = _subscription(bench), _subscription(bench)
    for subscription in (one, two):
        (await _put(inbox, subscription)).expect(204)
    for id in (_short(one["endpoint"]), _short(one["endpoint"]), bench.text(16)):
        (await _drop(inbox, {"id": id})).expect(204)
    _check_count(await _count(inbox), 1, "after one of two was dropped by its id")
    both = {"id": _short(two["endpoint"]), "endpoint": two["endpoint"]}
    (await _drop(inbox, both)).refused("bad_request", why="with an id and an endpoint")
    (await _drop(inbox)).expect(204)


def _short(endpoint: str) -> str:
    return encode(hashlib.sha256(endpoint.encode()).digest())[:16]


@GROUP.required(
    "An alias (`#…`) will not do.",
    section="put-v1inboxmatrix-be-told-in-a-matrix-room",
    feature="matrix",
    part="matrix",
)
async def what_is_no_room_is_refused(bench: Bench, inbox: Inbox) -> None:
    """With the feature `matrix`, what is no room's ID is a `bad_request`, and no room is told; dropping none is 204."""
    bot = bench.document["matrix"]
    if not isinstance(bot, dict) or not re.fullmatch(r"@[^:\s]+:\S+", str(bot.get("user_id"))):
        raise Failed("`matrix.user_id` in the capability document is not the ID of a bot")
    domain = str(bot["user_id"]).partition(":")[2]
    for room in (f"#inbox:{domain}", "", f"!{'x' * 256}:{domain}", 1, None):
        reply = await inbox.ask("PUT", _ROOM_PATH, "settings", json.dumps({"room": room}).encode())
        reply.refused("bad_request", why=f"with the room {room!r:.20}")
    if (await inbox.get()).expect(200).number("matrix") != 0:
        raise Failed("`matrix` is not 0 after rooms that were refused")
    for body in (b"", b'{"id":"AAAAAAAAAAAAAAAA"}'):
        (await inbox.ask("DELETE", _ROOM_PATH, "settings", body)).expect(204)


@GROUP.required("The URL follows the rules for the endpoint of a push subscription.", section=_URL, feature="webhook")
async def a_url_of_the_owners_is_kept_and_dropped(bench: Bench, inbox: Inbox) -> None:
    """With the feature `webhook`, one public https URL is kept, listed by its origin and dropped; no other is."""
    name = bench.text(20)
    for url in (f"http://{name}.example.net/", "https://127.0.0.1/", f"https://{name}.example.net:8443/", "", 1):
        reply = await inbox.ask("PUT", _URL_PATH, "settings", json.dumps({"url": url}).encode())
        reply.refused("bad_request", why=f"with the URL {url!r:.20}")
    spoilt = json.dumps({"url": f"{_SERVICE}/{name}", "authorization": "Bearer x\r\nX-More: 1"}).encode()
    (await inbox.ask("PUT", _URL_PATH, "settings", spoilt)).refused("bad_request", why="with two headers in one")
    for number, header in ((1, {"authorization": "Bearer x"}), (2, {})):
        body = json.dumps({"url": f"{_SERVICE}/{name}/{number}", **header}).encode()
        (await inbox.ask("PUT", _URL_PATH, "settings", body)).expect(204)
    if (await inbox.get()).expect(200).number("webhook") != 1:
        raise Failed("`webhook` is not 1 after a second URL took the place of the first")
    listed = (await inbox.ask("GET", _URL_PATH, "read")).expect(200).members.get("subscriptions")
    id = _short(f"{_SERVICE}/{name}/2")
    if not isinstance(listed, list) or [(each["id"], each["service"]) for each in listed] != [(id, _SERVICE)]:
        raise Failed("the list is not of the last URL, by its short id and its origin")
    for _ in range(2):
        (await inbox.ask("DELETE", _URL_PATH, "settings", json.dumps({"id": id}).encode())).expect(204)
    if (await inbox.get()).expect(200).number("webhook") != 0:
        raise Failed("`webhook` is not 0 after the URL was dropped by its id")
