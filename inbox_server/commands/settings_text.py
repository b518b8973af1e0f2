"""An inbox's settings and free space, in words for people."""

from collections.abc import Mapping
from typing import Any, Final

from inbox_server.commands.terminal import marked

_ACCEPTS: Final = {
    "names": "anyone with a proven name",
    "anyone": "anyone, even a bare key",
    "contacts": "your contacts only",
    "nobody": "nobody",
}
_NOTICES: Final = {
    "inbox_full": "a delivery was refused because the inbox was full: read and acknowledge something",
    "suspended": "the operator lets nothing in: ask there; you can still read, and move to another server",
    "push_gone": "a browser's push subscription has ended: subscribe it again",
    "matrix_gone": "your Matrix room is no longer notified: start a new chat with the bot, and publish --matrix ROOM",
    "webhook_gone": "your webhook no longer exists, or refused its authorization: publish --webhook URL again",
}
_TOLD: Final = {"matrix": "a room is told", "webhook": "a URL is told"}
_SPANS: Final = ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def settings_text(inbox: str, shown: Mapping[str, Any]) -> str:
    """A line for each item. It leaves out what this version does not know; `--json` shows everything."""
    quota = shown.get("quota")
    room: Mapping[str, Any] = quota if isinstance(quota, Mapping) else {}
    lines = {
        "unread": f"{_count(shown.get('unread'))} of {_count(room.get('entries'))} entries, "
        f"{size_text(room.get('bytes_used'))} of {size_text(room.get('bytes'))}",
        "kept unread for": span(shown.get("retention")),
        "accepts from": _ACCEPTS.get(str(shown.get("accept")), str(shown.get("accept"))),
        "contacts": _count(shown.get("contacts")),
        "blocked": _count(shown.get("blocked")),
        "proven names": _count(shown.get("names")),
        "push": f"{_count(shown.get('push'))} browsers are notified",
        **{name: told if shown[name] else f"no{told[1:]}" for name, told in _TOLD.items() if name in shown},
    }
    notices = shown.get("notices")
    told = [notice_text(str(notice)) for notice in notices] if isinstance(notices, list) else []
    return "\n".join(
        [inbox, *(f"   {name:16} {marked(text)}" for name, text in lines.items()), *(f"   ! {marked(n)}" for n in told)]
    )


def notice_text(notice: str) -> str:
    """An inbox's notice to its owner, in words."""
    return _NOTICES.get(notice, notice)


def span(seconds: Any) -> str:
    """`30 days`, in the largest unit that needs no fraction."""
    if type(seconds) is not int or seconds < 0:
        return "?"
    length, unit = next((each for each in _SPANS if seconds and seconds % each[0] == 0), _SPANS[-1])
    return f"{seconds // length:,} {unit}{'' if seconds == length else 's'}"


def _count(number: Any) -> str:
    return f"{number:,}" if type(number) is int else "?"


def size_text(number: Any) -> str:
    """`1.5 MB`, in units of 1,000."""
    if type(number) is not int:
        return "?"
    return f"{number / 1e6:,.1f} MB" if number >= 1e6 else f"{number / 1e3:,.1f} kB" if number >= 1e3 else f"{number} B"
