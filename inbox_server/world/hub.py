"""A Gaia hub's files, in memory, with the rules of the real hub (stacks-network/gaia): conditions, paths, pages.

The differences between hubs are in `hub_rules.py`. This hub lacks two features of the real one: scopes with their
archive of old files, and proofs.
"""

import contextlib
import hashlib
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from inbox_server.clock import Clock, UnixTime
from inbox_server.world.hub_refusals import HubRefused
from inbox_server.world.hub_rules import HubRules

CHALLENGE: Final = '["gaiahub","0","local.hub","blockstack_storage_please_sign"]'
MAX_FILE_BYTES: Final = 20 << 20  # the real hub's default
PAGE_ENTRIES: Final = 100  # the real hub's default
_MAX_BYTES: Final = 1 << 30  # of all people together: files stay in memory until the world stops
_MAX_PATH_BYTES: Final = 1024  # as cloud storage has it; a page's mark is a path, and its request has 4,096 bytes
_MAX_PATH_PARTS: Final = 100


@dataclass(frozen=True, slots=True)
class StoredFile:
    content: bytes
    content_type: str
    etag: str
    stored_at: int


@dataclass(frozen=True, slots=True)
class Page:
    """Files in the order of their paths, and the mark for the next page, if there is one."""

    files: dict[str, StoredFile]
    next: str | None


class Hub:
    """The files of the local world. `read_url` is the read side's URL, with a slash at the end."""

    def __init__(self, clock: Clock, *, rules: HubRules | None = None, max_bytes: int = _MAX_BYTES) -> None:
        self.rules = rules or HubRules()
        self.read_url = ""
        self.write_url = ""
        self.challenge = CHALLENGE
        """The text that tokens must contain; `hub_info` shows it."""
        self.whitelist: set[str] = set()
        """The addresses that may write, if the rules require a whitelist."""
        self.oldest_valid: dict[str, UnixTime] = {}
        """By address: the time of `revoke-all`. Tokens issued earlier, or without a time, are refused."""
        self.clock = clock
        self._buckets: dict[str, dict[str, StoredFile]] = {}
        self._max_bytes = max_bytes
        self._bytes = 0
        self._at_work: set[tuple[str, str]] = set()

    def read(self, address: str, path: str) -> StoredFile | None:
        return self._buckets.get(address, {}).get(path)

    @contextlib.contextmanager
    def working_on(self, address: str, path: str) -> Iterator[None]:
        """Lock a file against other writers, so that a condition still holds when the file is stored."""
        if (address, path) in self._at_work:
            raise HubRefused("ConflictError", f"Somebody is storing or deleting {path} at this moment")
        self._at_work.add((address, path))
        try:
            yield
        finally:
            self._at_work.discard((address, path))

    def check_condition(self, address: str, path: str, *, match: str | None, none_match: str | None) -> None:
        """`If-Match` updates the file with that tag, or any file with `*`; `If-None-Match: *` creates a new one."""
        file = self.read(address, path)
        etag = file.etag if file else None
        if match and none_match:
            reason = "If-Match and If-None-Match do not go together"
        elif match not in (None, "*", etag):
            reason = "The file changed since, or it is not there: its ETag is another"
        elif none_match == "*" and file:
            reason = "There is a file already"
        elif none_match not in (None, "*"):
            reason = "If-None-Match can only be *"
        else:
            return
        # The real hub's disk driver does not say what exists.
        raise HubRefused("PreconditionFailedError", reason, etag=None if self.rules.writes_in_place else etag)

    def check_folders(self, address: str, path: str) -> None:
        """If a path must be either a file or a folder, refuse to store what would need it to be both."""
        paths = self._buckets.get(address, {})
        above = {path[:end] for end, character in enumerate(path) if character == "/"}
        if self.is_folder(address, path) or (self.rules.has_folders and above & paths.keys()):
            raise HubRefused("ServerError", "Server Error")

    def is_folder(self, address: str, path: str) -> bool:
        paths = self._buckets.get(address, {})
        return self.rules.has_folders and any(other.startswith(f"{path}/") for other in paths)

    def path_of(self, asked: str) -> str:
        """The path that a URL means: the real hub drops one slash at its end."""
        path = asked.removesuffix("/")
        return re.sub("/{2,}", "/", path).removeprefix("/") if self.rules.has_folders else path

    def store(self, address: str, path: str, content: bytes, content_type: str) -> StoredFile:
        """Store a file, replacing an older one."""
        return self._put(address, path, content, content_type, _etag(content))

    def store_part(self, address: str, path: str, content: bytes, content_type: str) -> StoredFile:
        """The part of an in-place upload that has arrived, with the tag of the previous file."""
        old = self.read(address, path)
        return self._put(address, path, content, content_type, old.etag if old else _etag(b""))

    def cut(self, address: str, path: str, length: int) -> None:
        """Keep only the first `length` bytes of a file, like an upload that was cut off."""
        file = self._buckets[address][path]
        self.store_part(address, path, file.content[:length], file.content_type)

    def _put(self, address: str, path: str, content: bytes, content_type: str, etag: str) -> StoredFile:
        old = self.read(address, path)
        grown = self._bytes + len(content) - (len(old.content) if old else 0)
        if grown > self._max_bytes:
            raise HubRefused("PayloadTooLargeError", f"This local hub keeps {self._max_bytes >> 20} megabytes, no more")
        self._bytes = grown
        file = StoredFile(content, content_type, etag, self.clock())
        self._buckets.setdefault(address, {})[path] = file
        return file

    def delete(self, address: str, path: str) -> None:
        file = self._buckets.get(address, {}).pop(path, None)
        if file is None:
            raise HubRefused("DoesNotExist", "File does not exist")
        self._bytes -= len(file.content)

    def list(self, address: str, page: str | None) -> Page:
        """A page after the mark `page`. The mark is the last path, so deleting between two pages skips nothing."""
        bucket = self._buckets.get(address, {})
        paths = sorted(bucket)
        start = bisect_right(paths, unquote(page)) if page else 0
        listed = paths[start : start + PAGE_ENTRIES]
        more = start + PAGE_ENTRIES < len(paths)
        # In ASCII: stacks.js counts characters where it says how many bytes it sends.
        return Page({path: bucket[path] for path in listed}, quote(listed[-1]) if more else None)


def _etag(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()  # as the real hub's disk driver


def check_path(path: str) -> None:
    if ".." in path or len(path.encode()) > _MAX_PATH_BYTES or path.count("/") >= _MAX_PATH_PARTS:
        raise HubRefused("BadPathError", "Invalid Path")
