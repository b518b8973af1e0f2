"""What the events of an inbox's stream say: a page, or why the stream ends."""

from typing import Final

from inbox_server.client.events import Event
from inbox_server.client.inbox_api import Inbox
from inbox_server.client.pages import Page, parse_page
from inbox_server.client.refusals import InboxRefused, Unreachable
from inbox_server.protocol.strict_json import NotStrict, parse_object

_REPLACED_SECONDS: Final = 60  # two readers that reconnect at once would replace each other for ever


def page_in(inbox: Inbox, event: Event) -> Page:
    """The page in a `state` event. Raises `Unreachable`."""
    try:
        return parse_page(parse_object(event.data.encode()))
    except (NotStrict, ValueError):
        raise Unreachable(f"{inbox.url} sent an event that is not a page of its feed") from None


def check_end(event: Event) -> None:
    """Raises `InboxRefused` unless the stream ended because its time was over."""
    try:
        reason = str(parse_object(event.data.encode()).get("reason", ""))
    except NotStrict:
        reason = ""
    if reason == "replaced":
        raise InboxRefused(429, reason, "another reader of this inbox took the stream's place", _REPLACED_SECONDS)
    if reason not in ("token_expired", "closeafter"):
        status = 410 if reason == "cursor_gone" else 503
        raise InboxRefused(status, reason, f"the server ended the stream ({reason or 'without a reason'})")
