"""The chain from a name to an app's bucket and key. Each link is checked against the one before it."""

from collections.abc import Iterable
from typing import Final

from inbox_server.config.config import Static
from inbox_server.identity.keys import PublicKey
from inbox_server.outgoing.fetch import Absent, Fetcher, Forbidden, Unreachable
from inbox_server.resolver.contract import missing, unavailable, unproven
from inbox_server.resolver.keyfile import KEY_FILES, MAX_KEY_FILE_BYTES, check_key, is_unfinished, read_key_file
from inbox_server.resolver.profile import MAX_PROFILE_BYTES, Bucket, find_bucket, read_profile
from inbox_server.resolver.service import NameServices
from inbox_server.resolver.zonefile import profile_url

_WHERE: Final = "it must be an https URL of a public name, at the usual port"


class ChainResolver:
    """Implements `contract.Resolver` without a cache; `CachedResolver` wraps it."""

    def __init__(self, fetcher: Fetcher, names: NameServices, static: Iterable[Static]) -> None:
        self._fetcher = fetcher
        self._names = names
        self._static = {(entry.name, entry.app): entry.key for entry in static}

    async def address(self, name: str, app: str, *, fresh: bool = False) -> str:  # noqa: ARG002 — always is
        static = self._static.get((name, app))
        return static.address if static else (await self.bucket(name, app)).address

    async def key(self, name: str, app: str, *, fresh: bool = False) -> PublicKey:  # noqa: ARG002 — always is
        static = self._static.get((name, app))
        return static or await self.bucket_key(await self.bucket(name, app))

    async def bucket(self, name: str, app: str) -> Bucket:
        """The bucket that the name's owner signed for this app. Raises as `contract.Resolver` does."""
        record = await self._names.look_up(name)
        url = profile_url(record.zone_file)
        if url is None and not record.zone_file.strip():
            raise missing("The name has no zone file.")
        if url is None:
            raise unproven("The name's zone file names no profile (`_http._tcp URI`).")
        try:
            body = await self._fetcher.get(url, max_bytes=MAX_PROFILE_BYTES)
        except Absent:
            raise missing("There is no profile at the URL in the name's zone file.") from None
        except Forbidden:
            raise unproven(f"The profile's URL in the name's zone file is not asked: {_WHERE}.") from None
        except Unreachable:
            raise unavailable() from None
        return find_bucket(read_profile(body, owner=record.owner), app)

    async def bucket_key(self, bucket: Bucket) -> PublicKey:
        """`appsMeta`'s key, which the owner signed, or else the first key file that fits the bucket's address."""
        stated = check_key(bucket.stated_key, bucket.address) if bucket.stated_key else None
        if stated:
            return stated
        found = []
        for name in KEY_FILES:
            try:
                found.append(await self._fetcher.get(bucket.url + name, max_bytes=MAX_KEY_FILE_BYTES))
            except Absent:
                continue
            except Forbidden:
                raise unproven(f"The bucket's URL in the profile is not asked: {_WHERE}.") from None
            except Unreachable:
                raise unavailable() from None
            key = read_key_file(found[-1], bucket.address)
            if key:
                return key
        if any(is_unfinished(body) for body in found):
            raise unavailable("A key file in the bucket is empty or not whole: it is being written, or was cut off.")
        if not found and not bucket.stated_key:
            raise missing("There is no key in the profile, and no key file in the bucket. Publish key.json.")
        raise unproven("No key in the profile or the bucket hashes to the bucket's address. Publish key.json.")
