"""How `inbox-server client` shows entries and messages: as text, as JSON, or saved to a file."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.reports import Entry, Message
from inbox_server.client.user import NotAuthentic, NotForNow, NotReachable
from inbox_server.commands.client_command import Output, UsageError
from inbox_server.commands.terminal import marked
from inbox_server.protocol.base64url import encode
from inbox_server.synced_files import write_new_file

_SHOWN = 12  # characters of an id: enough to tell entries apart


def _save(message: Message, path: Path) -> None:
    """Raises `UsageError`."""
    content = message.content.encode() if isinstance(message.content, str) else message.content
    try:
        write_new_file(path, content)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}; the message stays unread") from None


async def show_message(client: InboxClient, entry: Entry, output: Output, save: Path | None = None) -> bool:
    """Fetch a message and show or save it; returns whether that was possible."""
    try:
        message = await client.fetch(entry)
    except (NotAuthentic, NotReachable, NotForNow) as error:
        now = "" if isinstance(error, NotAuthentic) else " now"
        text = f"{entry.ids[0][:_SHOWN]} cannot be read{now}: {marked(str(error))}"
        output.fail(text, type(error).__name__, entry_document(entry))
        return False
    document = _message_document(message, entry)
    if save:
        _save(message, save)
        output.tell(f"{message.sender}: saved as {save}", {**document, "saved": str(save)})
    else:
        output.tell(_message_text(message, entry, output), document)
    return True


def entry_text(entry: Entry) -> str:
    sender = f"says it is from {entry.pointer.sender}" if entry.pointer else "cannot be decrypted"
    until = datetime.fromtimestamp(entry.expires, UTC).strftime("%Y-%m-%d %H:%M")
    return f"{entry.ids[0][:_SHOWN]}  {sender}, until {until} UTC"


def entry_document(entry: Entry) -> dict[str, Any]:
    pointer = entry.pointer
    return {
        "ids": list(entry.ids),
        "message": pointer and pointer.id,
        "claims_from": pointer and pointer.sender,
        "expires": entry.expires,
        "inboxes": list(entry.inboxes),
    }


def _message_text(message: Message, entry: Entry, output: Output) -> str:
    if isinstance(message.content, str):
        return f"{message.sender}: {marked(message.content)}"
    how = output.command("read", f"--save FILE {entry.ids[0][:_SHOWN]}")
    return f"{message.sender}: ({len(message.content):,} bytes, not text: {how})"


def _message_document(message: Message, entry: Entry) -> dict[str, Any]:
    content = message.content
    shown = {"content": content} if isinstance(content, str) else {"content_base64url": encode(content)}
    return {"ids": list(entry.ids), "message": message.id, "from": message.sender, "key": message.key, **shown}
