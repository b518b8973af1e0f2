"""Notifications to a URL of the owner's own, such as a topic of ntfy: one constant line by POST.

The URL is a stranger's, and goes through the guard. It and the header that may come with it are kept sealed.
"""

import re
from typing import Any, Final

from yarl import URL

from inbox_server.notify.channel import TEXT, Address, Kind
from inbox_server.outgoing.fetch import Fetcher
from inbox_server.protocol.requests import bad_request, members_of, stranger_url_of, text_of

MAX_URL_CHARACTERS: Final = 1024
MAX_AUTHORIZATION_CHARACTERS: Final = 512
_CREDENTIALS: Final = re.compile(r"[!-~]+(?: [!-~]+)*")  # as the operator's own (config/values.py)
_HEADERS: Final = {"Content-Type": "text/plain; charset=utf-8"}
_ENDED: Final = frozenset({401, 403, 404, 410})


class OwnersWebhook:
    """Implements `channel.OwnerChannel`. An address is a URL, and its keys are the header, filled up with spaces."""

    kind: Final = Kind(
        name="webhook",
        feature="webhook",
        member="url",
        most=1,
        where_characters=MAX_URL_CHARACTERS,
        keys_bytes=MAX_AUTHORIZATION_CHARACTERS,
        at_once=32,
    )

    def __init__(self, fetcher: Fetcher, *, allow: frozenset[str]) -> None:
        self._fetcher = fetcher
        self._allow = allow

    def capability(self) -> dict[str, Any]:
        return {"authorization_characters": MAX_AUTHORIZATION_CHARACTERS, "url_characters": MAX_URL_CHARACTERS}

    def parse(self, body: bytes) -> Address:
        members = members_of(body, {"url", "authorization"})
        url = stranger_url_of(members, "url", MAX_URL_CHARACTERS, self._allow)
        return Address(url, _authorization(members).encode("ascii").ljust(MAX_AUTHORIZATION_CHARACTERS))

    async def admit(self, address: Address) -> None:
        """Nobody is asked: a POST at the owner's word, at once, would let owners probe others' servers."""

    def service(self, address: Address) -> str:
        return str(URL(address.where).origin())

    async def tell(self, address: Address) -> None:
        authorization = address.keys.decode("ascii").rstrip()
        headers = {**_HEADERS, "Authorization": authorization} if authorization else _HEADERS
        await self._fetcher.post(address.where, TEXT, headers, absent=_ENDED)


def _authorization(members: dict[str, Any]) -> str:
    if "authorization" not in members:
        return ""
    text = text_of(members, "authorization")
    if len(text) > MAX_AUTHORIZATION_CHARACTERS or not _CREDENTIALS.fullmatch(text):
        rule = f"must be a whole header of at most {MAX_AUTHORIZATION_CHARACTERS} visible ASCII characters: `Bearer …`"
        raise bad_request("authorization", rule)
    return text
