"""docs/openapi.json: the same as the code, and kept by a live server, whatever schemathesis sends it."""

import asyncio
import copy
import json
import logging
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
import requests
import schemathesis
from aiohttp import web
from hypothesis import strategies as st
from schemathesis.engine import from_schema
from schemathesis.engine.events import EngineEvent, FatalError, NonFatalError, ScenarioFinished
from schemathesis.hooks import unregister

from inbox_server.client.appkey import AppKey
from inbox_server.client.inbox_api import Inbox
from inbox_server.client.tokens_and_cards import deliver_token, owner_token
from inbox_server.config.file import parse_config
from inbox_server.errors import CODES
from inbox_server.http.capabilities import PROTOCOL_VERSION, capabilities
from inbox_server.http.routes import add_routes
from inbox_server.identity.addresses import app_address
from inbox_server.identity.keys import SigningKey
from inbox_server.inbox_log import HEAD_BYTES
from inbox_server.notify.matrix import MAX_ROOM_CHARACTERS, Matrix
from inbox_server.notify.owners_webhook import MAX_AUTHORIZATION_CHARACTERS, MAX_URL_CHARACTERS, OwnersWebhook
from inbox_server.notify.vapid import VapidKey
from inbox_server.protocol.base64url import encode
from inbox_server.protocol.feed_json import DEFAULT_PAGE_ENTRIES, MAX_PAGE_ENTRIES, MAX_WAIT_SECONDS
from inbox_server.protocol.log_json import NONCE_BYTES
from inbox_server.protocol.push_subscription import MAX_ENDPOINT_CHARACTERS
from inbox_server.protocol.receipts import LEVELS, SALT_BYTES
from inbox_server.protocol.requests import (
    MAX_ACK_IDS,
    MAX_DELIVERY_BYTES,
    MAX_MESSAGE_ID_CHARACTERS,
    MAX_OWNER_BYTES,
    MAX_PROVEN_NAMES,
    MAX_SUBSCRIPTIONS,
    MIN_RETENTION_SECONDS,
    MIN_TTL_SECONDS,
)
from inbox_server.protocol.tickets import MAX_SHEET_BYTES, SHEET_SIZES
from inbox_server.server import WAKEUPS
from inbox_server.store.contract import notices_of, weeks_of
from tests.conftest import APP, START, HandClock
from tests.support.amounts import amounts
from tests.support.channels import all_channels
from tests.support.edges import LiveServer, serving
from tests.support.home_servers import running_home_server

DOCUMENT: Final[dict[str, Any]] = json.loads(
    (Path(__file__).parent.parent.parent / "docs" / "openapi.json").read_text()
)
METHODS: Final = ("get", "put", "post", "delete", "options")


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    """What a `$ref` leads to, or the node itself."""
    while "$ref" in node:
        target: Any = DOCUMENT
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = target
    return node


def schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["components"]["schemas"][name]
    return found


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def refusals(response: dict[str, Any]) -> list[str]:
    """The problem codes that a response may have."""
    content = resolved(response).get("content", {}).get("application/problem+json")
    if content is None:
        return []
    codes: list[str] = content["schema"]["allOf"][1]["properties"]["code"]["enum"]
    return codes


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    """Every object within a part of the document."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    for child in node if isinstance(node, list) else ():
        yield from nodes(child)


async def test_the_document_has_the_routes_of_the_router_and_preflights() -> None:
    app = web.Application()
    async with all_channels() as channels:
        add_routes(app, [channel.kind.name for channel in channels])
    routes = {(route.method.lower(), route.resource.canonical) for route in app.router.routes() if route.resource}
    paths = {path for _, path in routes}
    assert {(method, path) for method, path, _ in operations()} == routes | {("options", path) for path in paths}


def test_every_reference_leads_somewhere_and_every_component_is_used() -> None:
    used = {node["$ref"] for node in nodes(DOCUMENT) if "$ref" in node}
    for reference in used:
        assert resolved({"$ref": reference})
    defined = {
        f"#/components/{kind}/{name}"
        for kind in ("headers", "responses", "schemas")
        for name in DOCUMENT["components"][kind]
    }
    general = {"#/components/responses/NotFound", "#/components/responses/WrongMethod"}
    assert defined == used | general


def test_the_document_has_every_error_code_and_no_other() -> None:
    assert schema("Problem")["properties"]["code"]["enum"] == list(CODES)
    assert schema("Problem")["properties"]["status"]["enum"] == sorted({code.status for code in CODES.values()})
    of_routes = {
        code for *_, operation in operations() for each in operation["responses"].values() for code in refusals(each)
    }
    general = {
        code for name in ("NotFound", "WrongMethod") for code in refusals(DOCUMENT["components"]["responses"][name])
    }
    assert of_routes | general == set(CODES)
    assert general == {"not_found", "wrong_method"}


def test_each_refusal_stands_under_its_own_status_with_the_headers_that_go_with_it() -> None:
    for *_, operation in operations():
        for status, each in operation["responses"].items():
            response = resolved(each)
            assert {CODES[code].status for code in refusals(each)} <= {int(status)}
            assert ("WWW-Authenticate" in response["headers"]) == (status == "401")
            assert ("Retry-After" in response["headers"]) == (status in ("429", "503", "507"))


def test_every_route_can_be_refused_as_every_request_can() -> None:
    for method, _, operation in operations():
        codes = {code for each in operation["responses"].values() for code in refusals(each)}
        assert {"bad_request", "wrong_host"} <= codes
        if method != "options":
            assert "internal" in codes
        assert ({"no_token", "bad_token", "gaia_token"} <= codes) == bool(operation["security"])
        assert ({"too_slow", "too_large"} <= codes) == (method in ("put", "post", "delete"))


def test_the_limits_are_those_of_the_code() -> None:
    delivery, ack, change = schema("Delivery")["properties"], schema("Ack")["properties"], schema("SettingsChange")
    config = parse_config({"server": {"public_url": "https://inbox.example"}}, Path("/"))
    assert schema("MessageId")["maxLength"] == MAX_MESSAGE_ID_CHARACTERS
    assert delivery["ttl"]["minimum"] == MIN_TTL_SECONDS
    assert ack["ids"]["maxItems"] == MAX_ACK_IDS
    assert change["properties"]["retention"]["minimum"] == MIN_RETENTION_SECONDS
    assert change["properties"]["retention"]["maximum"] == config.max_retention_seconds
    assert change["properties"]["names"]["maxItems"] == MAX_PROVEN_NAMES
    for member in ("contacts", "blocked"):
        assert change["properties"][member]["maxItems"] == config.list_entries
    page = schema("Page")["properties"]
    assert page["messages"]["maxItems"] == page["read"]["maxItems"] == MAX_PAGE_ENTRIES
    (limit,) = (
        each["schema"] for each in DOCUMENT["paths"]["/v1/messages"]["get"]["parameters"] if each["name"] == "limit"
    )
    assert (limit["minimum"], limit["maximum"], limit["default"]) == (1, MAX_PAGE_ENTRIES, DEFAULT_PAGE_ENTRIES)
    (wait,) = (
        each["schema"] for each in DOCUMENT["paths"]["/v1/messages"]["get"]["parameters"] if each["name"] == "wait"
    )
    assert wait["maximum"] == MAX_WAIT_SECONDS
    assert schema("Log")["properties"]["entries"]["maxItems"] == MAX_PAGE_ENTRIES
    assert schema("Receipt")["properties"]["path"]["maxItems"] == LEVELS
    assert schema("Settings")["properties"]["push"]["maximum"] == MAX_SUBSCRIPTIONS
    assert schema("Subscription")["properties"]["endpoint"]["maxLength"] == MAX_ENDPOINT_CHARACTERS
    assert schema("Room")["properties"]["room"]["maxLength"] == MAX_ROOM_CHARACTERS
    assert schema("Settings")["properties"]["matrix"]["maximum"] == Matrix.kind.most
    assert schema("Settings")["properties"]["webhook"]["maximum"] == OwnersWebhook.kind.most
    webhook = {name: each["maxLength"] for name, each in schema("Webhook")["properties"].items()}
    assert webhook == {"url": MAX_URL_CHARACTERS, "authorization": MAX_AUTHORIZATION_CHARACTERS}
    told = schema("Capabilities")["properties"]["webhook"]["properties"]
    assert {name.removesuffix("_characters"): each["const"] for name, each in told.items()} == webhook
    ids = schema("Sheet")["properties"]["ids"]
    assert [ids["minLength"], ids["maxLength"]] == [len(encode(bytes(16 * size))) for size in SHEET_SIZES[::2]]
    for path, method, most in (
        ("/v1/messages", "post", MAX_DELIVERY_BYTES),
        ("/v1/inbox", "put", MAX_OWNER_BYTES),
        ("/v1/inbox/push", "put", MAX_OWNER_BYTES),
        ("/v1/inbox/push", "delete", MAX_OWNER_BYTES),
        ("/v1/inbox/matrix", "put", MAX_OWNER_BYTES),
        ("/v1/inbox/matrix", "delete", MAX_OWNER_BYTES),
        ("/v1/inbox/webhook", "put", MAX_OWNER_BYTES),
        ("/v1/inbox/webhook", "delete", MAX_OWNER_BYTES),
        ("/v1/inbox/tickets", "put", MAX_SHEET_BYTES),
        ("/v1/messages/ack", "post", MAX_OWNER_BYTES),
    ):
        assert f"{most:,} bytes" in DOCUMENT["paths"][path][method]["requestBody"]["description"]


async def test_the_capability_document_is_as_described() -> None:
    config = parse_config({"server": {"public_url": "https://inbox.example"}}, Path("/"))
    async with all_channels() as channels:
        key = SigningKey.from_seed(bytes(64)).public
        told = capabilities(config, channels, key, draining=True)
        assert capabilities(config, channels, key).keys() == told.keys() - {"draining"}
    described = schema("Limits")["properties"]
    names = [channel.kind.name for channel in channels]
    assert tuple(schema("Notice")["enum"]) == notices_of(refused=True, suspended=True, gone=names)
    assert schema("Capabilities")["properties"].keys() == told.keys()
    assert {name: each.get("const", each.get("default")) for name, each in described.items()} == told["limits"]
    assert DOCUMENT["info"]["version"] == str(PROTOCOL_VERSION)


def test_bodies_and_answers_hold_nothing_but_what_is_named() -> None:
    objects = [each for each in nodes(DOCUMENT) if each.get("type") == "object"]
    assert len(objects) >= 10
    for each in objects:
        assert each["additionalProperties"] is False
        assert set(each["required"]) <= each["properties"].keys()


def test_the_patterns_take_what_the_code_writes() -> None:
    for length, name in (
        (32, "Id"),
        (24, "Cursor"),
        (HEAD_BYTES, "Hash"),
        (SALT_BYTES, "Random"),
        (NONCE_BYTES, "Random"),
    ):
        for first in (b"\0", b"\x7f", b"\xff"):
            assert re.search(schema(name)["pattern"], encode(first * length))
    for byte in range(256):
        address = app_address(bytes([2, *([byte] * 32)]))
        assert re.search(schema("Address")["pattern"], address)


# Schemathesis against a live server.

CHECKS: Final = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
EXAMPLES: Final = (8, 40)  # for each operation and kind of data, after the coverage phase
ROOMS: Final = tuple(f"!chat-{number}" for number in range(8))
SETTINGS: Final[dict[str, Any]] = {
    "seed": 1,
    "workers": 1,
    "request-timeout": 5,
    "generation": {"deterministic": True, "with-security-parameters": False},
    "checks": {"enabled": False, **{name: {"enabled": True} for name in CHECKS}},
    "phases": {
        "examples": {"enabled": False},
        "coverage": {"enabled": True, "unexpected-methods": []},
        "fuzzing": {"enabled": True},
        "stateful": {"enabled": False},
    },
}


@dataclass(slots=True)
class Tally:
    """What came back: statuses by operation, and everything that broke the document."""

    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def hear(self, event: EngineEvent) -> None:
        if isinstance(event, NonFatalError):
            self.broken.append(f"{event.label}: {event.value!r}")
        if isinstance(event, FatalError):
            self.broken.append(repr(event.exception))
        if not isinstance(event, ScenarioFinished):
            return
        for each in event.recorder.interactions.values():
            if each.response is not None:
                self.statuses[event.recorder.label, each.response.status_code] += 1
        for checks in event.recorder.checks.values():
            for check in checks:
                if check.failure_info is not None:
                    self.broken.append(f"{event.recorder.label}: {check.failure_info.failure}")

    def of(self, *wanted: int) -> dict[str, int]:
        """How often each operation answered with one of these."""
        found: Counter[str] = Counter()
        for (label, status), count in self.statuses.items():
            found[label] += count if status in wanted else 0
        return dict(found)


Sign = Callable[[requests.PreparedRequest], str | None]


@dataclass(frozen=True, slots=True)
class Bearer:
    """Puts a token into each request, made for it as it goes out."""

    sign: Sign

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        token = self.sign(request)
        if token is not None:
            request.headers["Authorization"] = f"Bearer {token}"
        return request


def attack(url: str, sign: Sign, examples: int, **checks: Any) -> Tally:
    """Run schemathesis against a live server. It blocks, so call it on a thread."""
    generation = {**SETTINGS["generation"], "max-examples": examples}
    settings = {**SETTINGS, "base-url": url, "generation": generation, "checks": {**SETTINGS["checks"], **checks}}
    document, this_week = copy.deepcopy(DOCUMENT), weeks_of(START)[0]
    document["components"]["schemas"]["Sheet"]["properties"]["week"] |= {"minimum": this_week, "maximum": this_week + 4}
    api = schemathesis.openapi.from_dict(document, config=schemathesis.Config.from_dict(settings))

    def before_call(context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]) -> None:
        kwargs["auth"] = Bearer(sign)

    schemathesis.hook(before_call)  # schemathesis has this hook for all documents at once only
    try:
        tally = Tally()
        for event in from_schema(api).execute():
            tally.hear(event)
    finally:
        unregister(before_call)
    return tally


def body_of(request: requests.PreparedRequest) -> bytes:
    body = request.body or b""
    assert isinstance(body, (str, bytes))
    return body.encode() if isinstance(body, str) else body


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs each request as its route needs. Bob is written to and reads; Carol claims, changes and gives up."""

    url: str
    clock: HandClock
    alice: AppKey
    bob: AppKey
    carol: AppKey

    def __call__(self, request: requests.PreparedRequest) -> str:
        body, path, now = body_of(request), urlsplit(str(request.url)).path, self.clock()
        if (request.method, path) == ("POST", "/v1/messages"):
            return deliver_token(
                self.alice, body, sender=self.alice.public, recipient=self.bob.public, app=APP, inbox=self.url, now=now
            )
        scope = "settings" if request.method in ("PUT", "DELETE") else "ack" if request.method == "POST" else "read"
        key = self.bob if path.startswith(("/v1/messages", "/v1/events", "/v1/inbox/")) else self.carol
        return owner_token(key, scope=scope, app=APP, inbox=self.url, now=now, body=body, seconds=30)


@pytest.fixture(autouse=True)
def silent_client() -> Iterator[None]:
    """The testing client logs what it made up; some numbers among them look like keys."""
    client = logging.getLogger("urllib3")
    level = client.level
    client.setLevel(logging.INFO)
    yield
    client.setLevel(level)


@pytest.fixture
async def server(tmp_path: Path, clock: HandClock) -> AsyncIterator[LiveServer]:
    """With every channel that there is."""
    async with running_home_server() as home:
        for room in ROOMS:
            home.room(room)
        matrix = home.settings(tmp_path)
        async with serving(
            tmp_path, clock=clock, registration__open_per_hour=1_000_000, notify__matrix=matrix
        ) as server:
            server.app[WAKEUPS].stop()  # no answer is held, and streams end
            yield server


@pytest.fixture
async def signer(server: LiveServer, clock: HandClock) -> Signer:
    """Keys whose inboxes are claimed; Bob takes deliveries from anyone, and has one already."""
    alice, bob, carol = (AppKey(bytes([number]) * 32) for number in (1, 2, 3))
    for key in (bob, carol):
        await Inbox(server.session, server.url, APP, key, clock).claim({"accept": "anyone"})
    await Inbox(server.session, server.url, APP, alice, clock).deliver(
        "first", sender=alice.public, recipient=bob.public
    )
    return Signer(server.url, clock, alice, bob, carol)


@pytest.fixture(scope="module", autouse=True)
def formats() -> None:
    """Teach schemathesis to make addresses with right checksums, points on the curve, push endpoints and rooms."""
    points = tuple(VapidKey(bytes([number]) * 64, subject="", clock=HandClock()).public for number in range(8))
    schemathesis.openapi.format("p256-point", st.sampled_from(points))
    schemathesis.openapi.format("matrix-room", st.sampled_from(ROOMS))
    schemathesis.openapi.format("push-endpoint", st.integers(0, 99).map(lambda x: f"https://push.example/{x}"))
    keys = st.binary(min_size=32, max_size=32).map(lambda x: app_address(b"\x02" + x))
    schemathesis.openapi.format("app-address", keys)
    ids = [b"".join(number.to_bytes(16, "big") for number in range(size)) for size in SHEET_SIZES]
    schemathesis.openapi.format("ticket-sheet", st.sampled_from(ids).map(encode))


def with_token(operation: str) -> bool:
    method, path = operation.split(" ")
    return bool(DOCUMENT["paths"][path][method.lower()]["security"])


@amounts(*EXAMPLES)
async def test_without_a_token_every_request_is_answered_as_documented(server: LiveServer, amount: int) -> None:
    tally = await asyncio.to_thread(attack, server.url, lambda _: None, amount)
    assert tally.broken == []
    for operation, count in tally.of(200, 201, 204).items():
        assert (count == 0) == with_token(operation), operation


@amounts(*EXAMPLES)
async def test_with_broken_tokens_every_request_is_answered_as_documented(signer: Signer, amount: int) -> None:
    """Each request's own good token, spoilt: another key's signature, cut, swapped, for another server, too long."""
    turn = iter(range(1_000_000))
    other = Signer("https://other.example", signer.clock, signer.carol, signer.alice, signer.bob)

    def broken(request: requests.PreparedRequest) -> str:
        good = signer(request)
        header, claims, signature = good.split(".")
        swapped = Signer(signer.url, signer.clock, signer.bob, signer.carol, signer.alice)(request).split(".")[2]
        choices = (
            f"{header}.{claims}.{swapped}",
            f"{header}.{claims}",
            good[:-9],
            f"{header}.{claims}.{signature}=",
            f"v1:{good}",
            other(request),
            "x" * 3000,
            f"{claims}.{header}.{signature}",
            good + " " + good,
        )
        return choices[next(turn) % len(choices)]

    tally = await asyncio.to_thread(attack, signer.url, broken, amount)
    assert tally.broken == []
    for operation, count in tally.of(200, 201, 204).items():
        assert (count == 0) == with_token(operation), operation


@amounts(*EXAMPLES)
async def test_with_valid_tokens_every_request_is_answered_as_documented(signer: Signer, amount: int) -> None:
    tally = await asyncio.to_thread(
        attack,
        signer.url,
        signer,
        amount,
        negative_data_rejection={"enabled": True},
    )
    assert tally.broken == []
    taken, refused = tally.of(200, 201, 204), tally.of(400)
    assert {operation for operation, count in taken.items() if count == 0} == set()
    for operation in ("PUT /v1/inbox", "POST /v1/messages", "GET /v1/messages", "POST /v1/messages/ack"):
        assert min(taken[operation], refused[operation]) >= amount // 4, operation
