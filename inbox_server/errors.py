"""The closed table of error codes, and the two kinds of failure that a caller can do something about.

*Refused*: understood, and not done. *Unavailable*: somebody else's server, or our disk, failed for now.
Anything else that is raised is a bug and becomes a bare 500. Raise where you know; `http/routes.py` translates once.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Code:
    """What a stable error code means: its HTTP status, a title, and what the caller does next."""

    status: int
    title: str
    remedy: str


CODES: Final[dict[str, Code]] = {
    "bad_request": Code(400, "The request is not as the protocol says", "Mend the member that is named."),
    "bad_cursor": Code(400, "That is not a cursor of this server", "Send a cursor as it was given, or none."),
    "no_token": Code(401, "A bearer token is needed", "Send `Authorization: Bearer <token>`."),
    "bad_token": Code(401, "The token breaks a rule", "Mend the member that is named and sign again."),
    "gaia_token": Code(
        401,
        "That is a Gaia hub token, a write key to a bucket",
        "Never send it anywhere but to your hub. Sign a token of this protocol.",
    ),
    "not_accepted": Code(
        403, "The delivery is not accepted", "Read the recipient's inbox card again; otherwise do not retry."
    ),
    "name_unproven": Code(
        403, "The name does not lead to the key", "Mend what is named, or use the app public key as the identity."
    ),
    "not_registered": Code(403, "This server does not take that inbox", "Do as the detail says, or ask the operator."),
    "not_found": Code(404, "There is nothing at this path", "See the protocol page for the paths."),
    "no_inbox": Code(404, "No inbox was claimed with this key", "Claim it with `PUT /v1/inbox`."),
    "wrong_method": Code(405, "The path does not take this method", "Use a method from the `Allow` header."),
    "stale_token": Code(
        409, "A later settings token was already used", "Read the settings, then sign a new token and try again."
    ),
    "too_slow": Code(408, "The request took too long to arrive", "Send it again, on a better connection."),
    "cursor_gone": Code(410, "The changes since this cursor are not kept", "List anew, without a cursor."),
    "too_large": Code(413, "The request body is too large", "Send less, in more requests."),
    "wrong_host": Code(421, "This server does not answer for that host", "Use the origin of its capability document."),
    "ttl_passed": Code(422, "The time to live was over before it arrived", "Sign again, or let it go."),
    "too_many": Code(429, "Too many for now", "Try again after `Retry-After` seconds."),
    "internal": Code(500, "The server failed", "Try again; tell the operator if it stays."),
    "names_unavailable": Code(
        503, "A name could not be looked up for now", "Repeat the same request after `Retry-After` seconds."
    ),
    "stopping": Code(503, "The server is stopping", "Repeat the same request after `Retry-After` seconds."),
    "clock_jumped": Code(503, "The server's clock jumped", "Repeat the same request after `Retry-After` seconds."),
    "inbox_full": Code(507, "The inbox is full", "Repeat the same request after `Retry-After` seconds."),
    "storage_full": Code(
        507, "The server cannot write for now", "Repeat the same request after `Retry-After` seconds."
    ),
}


class Refused(Exception):
    """Understood and not done. `code` is a key of `CODES`; `detail` tells a person what to do.

    Neither `detail` nor `member` may hold anything that the request said about who sent it.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        member: str | None = None,
        retry_after: int | None = None,
        server_time: int | None = None,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail
        self.member = member
        self.retry_after = retry_after
        self.server_time = server_time


class Unavailable(Refused):
    """Not done because something that we need failed for now; `retry_after` is in seconds."""

    retry_after: int

    def __init__(self, code: str, detail: str, *, retry_after: int) -> None:
        super().__init__(code, detail, retry_after=retry_after)
