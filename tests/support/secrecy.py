"""What must never be logged, by its shape: whoever runs the server must not find it, whatever the level."""

import logging
import re
from collections.abc import Callable

from inbox_server.identity.addresses import NotAnAddress, base58check_decode, c32check_decode

# Test clients bind addresses below this, so that one of them in a log is known for what it is.
CLIENT_NETWORK = "127.7."

_KEY = re.compile(r"0[23][0-9a-fA-F]{64}|04[0-9a-fA-F]{128}")
_TOKEN = re.compile(r"eyJ[\w-]{10,}|[Bb]earer ")
_NAME = re.compile(r"\b[a-z0-9_+-]+\.(?:id|btc)\b")
_CLIENT = re.compile(re.escape(CLIENT_NETWORK) + r"\d+\.\d+")
_ADDRESS = re.compile(r"\b[1-9A-HJ-NP-Za-km-z]{26,35}\b")
_OWNER = re.compile(r"\bS[0-9A-HJKMNP-TV-Z]{28,41}\b")


def told(text: str) -> list[str]:
    """Everything in a log's text that says who: keys, tokens, names, client addresses, bucket and owner addresses."""
    found = [match[0] for pattern in (_KEY, _TOKEN, _NAME, _CLIENT) for match in pattern.finditer(text)]
    found += [word for word in _ADDRESS.findall(text) if _decodes(base58check_decode, word)]
    found += [word for word in _OWNER.findall(text) if _decodes(c32check_decode, word)]
    return found


class Listener(logging.Handler):
    """Keeps what is told by any record of any logger, and where it was logged."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records = 0
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records += 1
        text = logging.Formatter().format(record)  # with the traceback, if there is one
        self.told += [f"{record.name} ({record.levelname}): {found}" for found in told(text)]


def _decodes(decode: Callable[[str], object], word: str) -> bool:
    try:
        decode(word)
    except NotAnAddress:
        return False
    return True
