"""What a resolver promises. Look-ups are by name and app; keys and addresses as identities need none."""

from typing import Final, Protocol

from inbox_server.errors import Refused, Unavailable
from inbox_server.identity.keys import PublicKey

FAILURE_RETRY_SECONDS: Final = 45


class Missing(Refused):
    """A link that is missing. If it existed before, this may be temporary; any other refusal is somebody's doing."""


class Resolver(Protocol):
    """Both methods raise `Refused` name_unproven when a link of the chain does not hold (`Missing` when there is none),
    and `Unavailable` when a link could not be fetched, or is just being written. `fresh` asks for a new look-up,
    because the cached answer did not fit.
    """

    async def address(self, name: str, app: str, *, fresh: bool = False) -> str:
        """The address of the name's bucket for this app, base58check."""

    async def key(self, name: str, app: str, *, fresh: bool = False) -> PublicKey:
        """The app public key, which hashes to that address."""


async def leads_to(resolver: Resolver, name: str, app: str, address: str) -> bool:
    """Whether the name's bucket for this app is at `address`; a cached answer that does not fit is looked up again.

    Raises as `Resolver` does.
    """
    if await resolver.address(name, app) == address:
        return True
    return await resolver.address(name, app, fresh=True) == address


def unproven(detail: str) -> Refused:
    """A link that does not hold. `detail` tells its owner what to fix and does not quote the link."""
    return Refused("name_unproven", detail)


def missing(detail: str) -> Missing:
    """The same, for a link that is not there."""
    return Missing("name_unproven", detail)


def unavailable(detail: str = "", *, retry_after: int = FAILURE_RETRY_SECONDS) -> Unavailable:
    """`detail` says what its owner can do, if anything."""
    detail = detail or "A name could not be looked up for now."
    return Unavailable("names_unavailable", f"{detail} Repeat the same request later.", retry_after=retry_after)
