"""Smuggling: what two readers of the same bytes could take for two requests."""

from collections.abc import Mapping
from typing import Final

import pytest

from inbox_server.client.tokens_and_cards import deliver_token
from tests.conftest import APP, HandClock
from tests.support.edges import ALICE, BOB, PUBLIC, LiveServer, ask, ask_once, claim_bob, request_bytes

BODY: Final = b'{"message_id":"smuggled"}'
CHUNKS: Final = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
LENGTH: Final = f"Content-Length: {len(BODY)}"
CHUNKED: Final = "Transfer-Encoding: chunked"
INNER: Final = request_bytes("GET /.well-known/message-inbox")

SMUGGLED: Final[Mapping[str, tuple[tuple[str, ...], bytes]]] = {
    "CL and TE": ((LENGTH, CHUNKED), CHUNKS),
    "TE and CL": ((CHUNKED, LENGTH), CHUNKS),
    "CL.TE with a request behind": (("Content-Length: 5", CHUNKED), b"0\r\n\r\n" + INNER),
    "TE.CL with a request within": ((CHUNKED, "Content-Length: 4"), b"%x\r\n%s\r\n0\r\n\r\n" % (len(INNER), INNER)),
    "TE folded": (("Transfer-Encoding:\r\n chunked",), CHUNKS),
    "TE folded with a tab": (("Transfer-Encoding:\r\n\tchunked", LENGTH), BODY),
    "TE with a space before the colon": (("Transfer-Encoding : chunked", LENGTH), BODY),
    "TE with a vertical tab": (("Transfer-Encoding: \x0bchunked", LENGTH), BODY),
    "TE misspelt": (("Transfer-Encoding: xchunked",), CHUNKS),
    "TE in quotes": (('Transfer-Encoding: "chunked"',), CHUNKS),
    "TE empty": (("Transfer-Encoding:", LENGTH), BODY),
    "TE twice": ((CHUNKED, "Transfer-Encoding: identity"), CHUNKS),
    "TE twice, the other way": (("Transfer-Encoding: identity", CHUNKED), CHUNKS),
    "TE chunked twice": ((CHUNKED, CHUNKED), CHUNKS),
    "TE chunked, then identity": (("Transfer-Encoding: chunked, identity",), CHUNKS),
    "TE identity, then chunked": (("Transfer-Encoding: identity, chunked",), CHUNKS),
    "TE gzip, then chunked": (("Transfer-Encoding: gzip, chunked",), CHUNKS),
    "TE identity": (("Transfer-Encoding: identity", LENGTH), BODY),
    "TE behind a bare CR": ((f"X: a\r{CHUNKED}", LENGTH), BODY),
    "TE behind a bare LF": ((f"X: a\n{CHUNKED}", LENGTH), BODY),
    "two CLs": ((LENGTH, "Content-Length: 5"), BODY),
    "two equal CLs": ((LENGTH, LENGTH), BODY),
    "a list of CLs": ((f"{LENGTH}, {len(BODY)}",), BODY),
    "a CL with a sign": ((f"Content-Length: +{len(BODY)}",), BODY),
    "a negative CL": (("Content-Length: -1",), BODY),
    "a CL in hex": ((f"Content-Length: {len(BODY):#x}",), BODY),
    "a CL with an underscore": (("Content-Length: 2_5",), BODY),
    "a CL that is folded": ((f"Content-Length:\r\n {len(BODY)}",), BODY),
    "a huge CL": ((f"Content-Length: {1 << 64}",), BODY),
    "a chunk size with 0x": ((CHUNKED,), b"0x" + CHUNKS),
    "a chunk size with a sign": ((CHUNKED,), b"+" + CHUNKS),
    "a negative chunk size": ((CHUNKED,), b"-" + CHUNKS),
    "a chunk size with an underscore": ((CHUNKED,), b"0_" + CHUNKS),
    "a chunk size with a space before": ((CHUNKED,), b" " + CHUNKS),
    "a chunk size beyond 64 bits": ((CHUNKED,), b"1" + b"0" * 16 + CHUNKS),
    "a chunk that is too short": ((CHUNKED,), b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY) + 1, BODY)),
    "a chunk that is too long": ((CHUNKED,), b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY) - 1, BODY)),
    "a chunk that ends in LF": ((CHUNKED,), CHUNKS.replace(b"\r\n", b"\n")),
    "a chunk extension with a LF": ((CHUNKED,), CHUNKS.replace(b"\r\n", b";a=\n\r\n", 1)),
    "a header behind a LF": ((f"X: a\n{LENGTH}",), BODY),
}


@pytest.mark.parametrize("name", SMUGGLED)
async def test_what_could_be_read_as_two_requests_gets_one_answer_and_is_not_done(
    server: LiveServer, clock: HandClock, name: str
) -> None:
    await claim_bob(server, clock, url=PUBLIC)
    headers, body = SMUGGLED[name]
    token = deliver_token(ALICE, BODY, sender=ALICE.public, recipient=BOB.public, app=APP, inbox=PUBLIC, now=clock())
    answers = await ask(
        server.port, request_bytes("POST /v1/messages", f"Authorization: Bearer {token}", *headers, body=body)
    )
    assert len(answers) <= 1
    assert all(400 <= answer.status < 500 for answer in answers)


async def test_the_smuggled_delivery_is_taken_when_nothing_is_wrong_with_it(
    server: LiveServer, clock: HandClock
) -> None:
    """The control: only the framing stands between those requests and a 201."""
    await claim_bob(server, clock, url=PUBLIC)
    token = deliver_token(ALICE, BODY, sender=ALICE.public, recipient=BOB.public, app=APP, inbox=PUBLIC, now=clock())
    for headers, body in (((LENGTH,), BODY), ((CHUNKED,), CHUNKS)):
        line = request_bytes("POST /v1/messages", f"Authorization: Bearer {token}", *headers, body=body)
        assert (await ask_once(server.port, line)).status in (200, 201)
