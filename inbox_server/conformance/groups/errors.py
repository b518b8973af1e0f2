"""Group `errors`: refusals are problem documents with the codes of the table; what is malformed is refused."""

import json
from typing import Final

from inbox_server.conformance.bench import Bench
from inbox_server.conformance.cases import Failed, Group
from inbox_server.conformance.inboxes import Inbox
from inbox_server.conformance.observed import CAPABILITIES
from inbox_server.conformance.replies import Reply

GROUP: Final = Group("errors", "refusals")
_DELIVERY_BYTES: Final = 4096
_OTHER_BYTES: Final = 65_536
_MALFORMED: Final = (
    b"x",
    b"[]",
    b'"x"',
    b"null",
    b"{",
    b"{}{}",
    b"{'a':1}",
    b'{"ids":[],}',
    b'{"ids":[],"ids":[]}',
    b'{"ids":NaN}',
    b"\xef\xbb\xbf{}",
    b'{"ids":["\xff"]}',
    b'{"ids":["\\ud800"]}',
)


@GROUP.required("404 | There is nothing at this path")
async def an_unknown_path_is_not_found(bench: Bench) -> None:
    """A path that the protocol does not have is `not_found`."""
    for path in ("/v1", "/v1/", "/v1/message", "/v1/messages/", "/v1/messages/x", "/v2/messages", "/V1/messages"):
        for method in ("GET", "POST"):
            (await bench.send(method, path)).refused("not_found", why=f"at {path}")


@GROUP.required("`405` has an `Allow` header.")
async def a_wrong_method_is_refused_with_allow(bench: Bench) -> None:
    """A method that a path does not allow is `wrong_method`, and `Allow` names those that it does."""
    for path, wrong, right in (
        ("/v1/messages", "PUT", {"GET", "POST"}),
        ("/v1/messages/ack", "GET", {"POST"}),
        ("/v1/inbox", "POST", {"GET", "PUT", "DELETE"}),
        ("/v1/events", "POST", {"GET"}),
        (CAPABILITIES, "POST", {"GET"}),
    ):
        reply = (await bench.send(wrong, path)).refused("wrong_method", why=f"at {path}")
        allowed = {method.strip() for method in reply.headers.get("Allow", "").split(",")}
        if not allowed >= right or wrong in allowed:
            raise Failed(f"{wrong} {path}: `Allow` is not {', '.join(sorted(right))}")


@GROUP.required("A request to `/v1/messages` may have a body of 4,096 bytes; all others may have 65,536.")
async def a_body_is_taken_up_to_its_limit(bench: Bench, inbox: Inbox) -> None:
    """A body of exactly the limit is taken, and one byte more is `too_large`, for deliveries and for all others."""
    text = bench.text()
    for size, code in ((_DELIVERY_BYTES, ""), (_DELIVERY_BYTES + 1, "too_large")):
        body = json.dumps({"message_id": text}).encode().ljust(size)
        token = bench.deliver_token(bench.somebody(), inbox.address, body)
        _check_size(await bench.send("POST", "/v1/messages", token=token, body=body), size, code)
    for size, code in ((_OTHER_BYTES, ""), (_OTHER_BYTES + 1, "too_large")):
        ack, change = b'{"ids":[]}'.ljust(size), b"{}".ljust(size)
        _check_size(await inbox.ask("POST", "/v1/messages/ack", "ack", ack), size, code)
        _check_size(await inbox.ask("PUT", "/v1/inbox", "settings", change), size, code)


def _check_size(reply: Reply, size: int, code: str) -> None:
    if code:
        reply.refused(code, why=f"with {size} bytes")
    else:
        reply.expect(200, 201, 204, why=f"with {size} bytes")


@GROUP.required("a request with a body and `Content-Encoding` is `bad_request` with that as the `member`.")
async def a_content_encoding_is_refused(bench: Bench, inbox: Inbox) -> None:
    """A body with `Content-Encoding` is a `bad_request`, because the digest is of the bytes that were sent."""
    body = json.dumps({"message_id": bench.text()}).encode()
    token = bench.deliver_token(bench.somebody(), inbox.address, body)
    for coding in ("gzip", "identity"):
        headers = {"Content-Encoding": coding}
        reply = await bench.send("POST", "/v1/messages", token=token, body=body, headers=headers)
        reply.refused("bad_request", member="Content-Encoding", why=f"with Content-Encoding: {coding}")
    if (await inbox.page()).ids:
        raise Failed("a delivery that was refused is listed")


@GROUP.required("Bodies are JSON objects, as strict as those in tokens", section="requests")
async def what_is_no_json_object_is_refused(bench: Bench, inbox: Inbox) -> None:
    """A body that is no JSON object in UTF-8, or has a member twice, is a `bad_request`."""
    for body in _MALFORMED:
        token = bench.deliver_token(bench.somebody(), inbox.address, body)
        reply = await bench.send("POST", "/v1/messages", token=token, body=body)
        reply.refused("bad_request", why=f"with the body {body[:16]!r}")
        reply = await inbox.ask("POST", "/v1/messages/ack", "ack", body)
        reply.refused("bad_request", why=f"with the body {body[:16]!r}")
        reply = await inbox.ask("PUT", "/v1/inbox", "settings", body)
        reply.refused("bad_request", why=f"with the body {body[:16]!r}")


@GROUP.required("Everything else is `bad_request`, with the `member` that is wrong", section="requests")
async def a_bad_request_names_its_member(bench: Bench, inbox: Inbox) -> None:
    """A `bad_request` names the member to fix."""
    (await inbox.listed(limit="0")).refused("bad_request", member="limit")
    (await inbox.listed(unheard_of="0")).refused("bad_request", member="query")
    (await inbox.put({"unheard-of": 1})).refused("bad_request", member="body")
    (await inbox.put({"retention": 1})).refused("bad_request", member="retention")
    (await inbox.put({"accept": "x"})).refused("bad_request", member="accept")
    (await inbox.ask("POST", "/v1/messages/ack", "ack", b"{}")).refused("bad_request", member="ids")
    (await inbox.deliver(bench.text(), ttl=1)).refused("bad_request", member="ttl")
    (await inbox.deliver("")).refused("bad_request", member="message_id")


@GROUP.required("`aud` is the server's origin: one string, exactly as in the capability document.", section="tokens")
async def the_host_header_is_not_believed(bench: Bench) -> None:
    """The `Host` of a request is not believed: it gives the server no other origin, and tokens no other audience."""
    headers = {"Host": "other.example"}
    document = await bench.send("GET", CAPABILITIES, headers=headers, may_stop_early=True)
    if document.status == 200 and document.members.get("origin", bench.origin) != bench.origin:
        raise Failed("the capability document has the origin that the request's Host names")
    for scheme in ("http", "https"):
        body = json.dumps({"message_id": bench.text()}).encode()
        token = bench.deliver_token(bench.somebody(), bench.key().address, body, aud=f"{scheme}://other.example")
        reply = await bench.send("POST", "/v1/messages", token=token, body=body, headers=headers, may_stop_early=True)
        if reply.status != 401 and reply.code not in ("", "wrong_host"):
            raise Failed(f"{reply.asked}: a token whose aud is the request's Host was answered {reply.told}")


@GROUP.recommended("A request whose `Host` is not that of the `origin`", "is `wrong_host`, whatever its path.")
async def another_host_is_refused(bench: Bench) -> None:
    """A request for another `Host` is `wrong_host`, whatever its path; or something in front answers for that host."""
    for path in (CAPABILITIES, "/v1/messages", "/nowhere"):
        reply = await bench.send("GET", path, headers={"Host": "other.example"}, may_stop_early=True)
        if reply.code or reply.members.get("protocol"):
            reply.refused("wrong_host", why="for another host")


@GROUP.recommended("`HEAD` is a method like any other; only the capability document may have it.")
async def head_is_a_method_like_any_other(bench: Bench) -> None:
    """`HEAD` is answered 405, except for the capability document."""
    for path in ("/v1/messages", "/v1/inbox", "/v1/events"):
        (await bench.send("HEAD", path)).expect(405)


@GROUP.required("The `Content-Type` of a request does not matter.", section="requests")
async def the_type_of_a_request_does_not_matter(bench: Bench, inbox: Inbox) -> None:
    """A delivery is taken with any `Content-Type`."""
    for kind in ("text/plain", "application/json; charset=utf-8", "application/x-www-form-urlencoded", "nonsense"):
        body = json.dumps({"message_id": bench.text()}).encode()
        token = bench.deliver_token(bench.somebody(), inbox.address, body)
        reply = await bench.send("POST", "/v1/messages", token=token, body=body, headers={"Content-Type": kind})
        reply.expect(201, why=f"as {kind}")


@GROUP.required("401 has `WWW-Authenticate: Bearer`.", last=True)
async def every_401_has_www_authenticate(bench: Bench) -> None:
    """Every 401 of the run had `WWW-Authenticate: Bearer`."""
    await bench.second()
    bench.observed.judge("authenticate")


@GROUP.required("429, 503 and 507 have `Retry-After` in seconds.", last=True)
async def every_refusal_for_now_has_retry_after(bench: Bench) -> None:
    """Every 429, 503 and 507 of the run had `Retry-After` in seconds."""
    bench.observed.judge("retry-after")


@GROUP.required("A refusal follows RFC 9457.", last=True)
async def every_refusal_is_a_problem_document(bench: Bench) -> None:
    """Every refusal of the run was `application/problem+json`: a code of the table, its status, a title, a detail."""
    await bench.second()
    bench.observed.judge("problem")


@GROUP.required("Answers are JSON objects too (`application/json`)", section="requests", last=True)
async def every_answer_is_json(bench: Bench) -> None:
    """Every answer of the run that was no refusal and had content was `application/json`."""
    (await bench.send("GET", CAPABILITIES)).expect(200)
    bench.observed.judge("json")
