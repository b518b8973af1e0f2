"""The closed table of error codes, and the two kinds of failure that a caller can do something about.

*Refused*: understood, and not done. *Unavailable*: somebody else's server, or our disk, failed for now.
Anything else that is raised is a bug and becomes a bare 500. Raise where you know; `http/edge.py` translates once.
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
    "bad_request": Code(400, "The request does not follow the protocol", "Fix the member that is named."),
    "bad_cursor": Code(400, "That is not a cursor of this server", "Send a cursor exactly as it was given, or none."),
    "no_token": Code(401, "A bearer token is required", "Send `Authorization: Bearer <token>`."),
    "bad_token": Code(401, "The token breaks a rule", "Fix the member that is named, and sign again."),
    "gaia_token": Code(
        401,
        "That is a Gaia hub token, which can write to a bucket",
        "Never send it to anything but your hub. Sign a token of this protocol.",
    ),
    "not_accepted": Code(
        403,
        "The delivery is not accepted",
        "Read the recipient's inbox card again; if it has not changed, do not retry.",
    ),
    "name_unproven": Code(
        403, "The name does not lead to the key", "Fix what is named, or use the app public key as the identity."
    ),
    "not_registered": Code(403, "This server does not accept that inbox", "Follow the detail, or ask the operator."),
    "suspended": Code(403, "The operator has suspended this inbox", "Ask the operator."),
    "not_found": Code(404, "There is nothing at this path", "See the protocol page for the paths."),
    "no_inbox": Code(404, "No inbox has been claimed with this key", "Claim it with `PUT /v1/inbox`."),
    "wrong_method": Code(405, "The path does not allow this method", "Use a method from the `Allow` header."),
    "stale_token": Code(
        409, "A later settings token has already been used", "Read the settings, then sign a new token and try again."
    ),
    "ticket_spent": Code(409, "The ticket was used for another delivery", "Take the next ticket."),
    "too_slow": Code(408, "The request took too long to arrive", "Send it again over a better connection."),
    "cursor_gone": Code(410, "The changes since this cursor are no longer kept", "List again, without a cursor."),
    "too_large": Code(413, "The request body is too large", "Send less in each request."),
    "wrong_host": Code(421, "This server does not answer for that host", "Use the origin in its capability document."),
    "ttl_passed": Code(422, "The time to live ended before the delivery arrived", "Sign again, or drop the delivery."),
    "too_many": Code(429, "Too many requests for now", "Try again after `Retry-After` seconds."),
    "internal": Code(500, "The server failed", "Try again. If it keeps failing, tell the operator."),
    "names_unavailable": Code(
        503, "A name cannot be looked up right now", "Repeat the same request after `Retry-After` seconds."
    ),
    "channel_unavailable": Code(
        503, "The service behind this channel cannot be asked", "Repeat the same request after `Retry-After` seconds."
    ),
    "stopping": Code(503, "The server is stopping", "Repeat the same request after `Retry-After` seconds."),
    "draining": Code(
        503,
        "The server takes nothing new",
        "Read the recipient's inbox card again; or repeat the same request after `Retry-After` seconds.",
    ),
    "moving": Code(
        503,
        "The inbox is being moved to another database of its server",
        "Repeat the same request after `Retry-After` seconds.",
    ),
    "clock_jumped": Code(503, "The server's clock jumped", "Repeat the same request after `Retry-After` seconds."),
    "inbox_full": Code(507, "The inbox is full", "Repeat the same request after `Retry-After` seconds."),
    "storage_full": Code(
        507, "The server cannot write right now", "Repeat the same request after `Retry-After` seconds."
    ),
}


class CommandFailed(Exception):
    """A command cannot do what it was asked to; the message is for a person, and says what to do."""


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
