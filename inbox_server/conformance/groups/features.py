"""Group `features`: version 1 grows by names in the capability document, and servers refuse what they do not know."""

import json
import re
from typing import Final

from inbox_server.conformance.bench import Bench
from inbox_server.conformance.cases import Failed, Group
from inbox_server.conformance.events import refused_events
from inbox_server.conformance.inboxes import Inbox

GROUP: Final = Group("features", "features")
_REFUSE: Final = "Servers refuse what they do not know"
_NAME: Final = re.compile(r"[a-z0-9-]{1,40}")
_PRIVATE: Final = re.compile(r"(?=.{1,40}$)[a-z0-9-]+(\.[a-z0-9-]+)+(-[a-z0-9-]+)?")


@GROUP.required("Names have 1 to 40 characters: `a` to `z`, `0` to `9` and `-`.")
async def features_have_names(bench: Bench) -> None:
    """`features`, if it is there, is a list of names, each once; a name with a dot begins with a domain."""
    listed = bench.document.get("features", [])
    if not isinstance(listed, list) or len(listed) != len(set(map(str, listed))):
        raise Failed("`features` is not a list of names, each once")
    for name in listed:
        if not isinstance(name, str) or not (_NAME.fullmatch(name) or _PRIVATE.fullmatch(name)):
            raise Failed(f"{name!r:.60} is no name of a feature")


@GROUP.required(_REFUSE)
async def an_unknown_member_is_refused(bench: Bench, inbox: Inbox) -> None:
    """A body with a member that is not on the page is a `bad_request`, and nothing of it is done."""
    (unread,) = await inbox.received(bench.text())
    body = json.dumps({"message_id": bench.text(), "unheard-of": 1}).encode()
    token = bench.deliver_token(bench.somebody(), inbox.address, body)
    (await bench.send("POST", "/v1/messages", token=token, body=body)).refused("bad_request", why="an unknown member")
    body = json.dumps({"ids": [unread], "unheard-of": 1}).encode()
    (await inbox.ask("POST", "/v1/messages/ack", "ack", body)).refused("bad_request", why="an unknown member")
    (await inbox.put({"accept": "nobody", "unheard-of": 1})).refused("bad_request", why="an unknown member")
    if (await inbox.page()).ids != [unread] or (await inbox.get()).expect(200).text("accept") != "anyone":
        raise Failed("a request that was refused was done in part")


@GROUP.required(_REFUSE)
async def an_unknown_parameter_is_refused(inbox: Inbox) -> None:
    """A query parameter that is not on the page, or that is there twice, is a `bad_request`."""
    (await inbox.listed(unheard_of=1)).refused("bad_request", why="with an unknown parameter")
    token = inbox.bench.owner_token(inbox.owner, "read")
    twice = await inbox.bench.send("GET", "/v1/messages?limit=1&limit=1", token=token)
    twice.refused("bad_request", why="with the same parameter twice")
    (await refused_events(inbox, "?unheard_of=1")).refused("bad_request")
    for method, path, scope in (("GET", "/v1/inbox", "read"), ("PUT", "/v1/inbox", "settings")):
        reply = await inbox.ask(method, f"{path}?unheard_of=1", scope)
        reply.refused("bad_request", why="with an unknown parameter")


@GROUP.required("a server that supports it lists the name in `features` of its capability document.")
async def what_is_not_listed_is_refused(bench: Bench, inbox: Inbox) -> None:
    """What belongs to a feature that the capability document does not list is refused."""
    if "receipts" not in bench.features:
        body = json.dumps({"message_id": bench.text(), "receipt": True}).encode()
        token = bench.deliver_token(bench.somebody(), inbox.address, body)
        reply = await bench.send("POST", "/v1/messages", token=token, body=body)
        reply.refused("bad_request", why="without receipts")
    if "log" not in bench.features:
        (await inbox.ask("GET", "/v1/inbox/log", "read")).refused("not_found", why="without log")
    if "push-list" in bench.features:
        return
    (await inbox.ask("GET", "/v1/inbox/push", "read")).refused("wrong_method", "not_found", why="without push-list")
    body = b'{"id":"AAAAAAAAAAAAAAAA"}'
    (await inbox.ask("DELETE", "/v1/inbox/push", "settings", body)).refused(
        "bad_request", "not_found", why="without push-list"
    )
