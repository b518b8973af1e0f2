"""Made-up people: a name, the keys that a wallet would derive, a signed profile in a bucket, a zone file."""

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import aiohttp

from inbox_server.client.appkey import AppKey
from inbox_server.client.bucket import open_bucket
from inbox_server.clock import UnixTime
from inbox_server.identity.addresses import c32check_encode, hash160
from inbox_server.world.hub import Hub
from inbox_server.world.name_service import NameRegister, Registration

_STACKS_MAINNET_VERSION = 22


@dataclass(frozen=True, slots=True)
class Person:
    """`owner` holds the name and signs the profile; `data` keys the profile's bucket; `app_key` is for one app."""

    name: str
    app: str
    owner: AppKey
    data: AppKey
    app_key: AppKey

    @property
    def owner_address(self) -> str:
        """The Stacks address that owns the name."""
        return c32check_encode(_STACKS_MAINNET_VERSION, hash160(bytes.fromhex(self.owner.public)))


def make_person(name: str, app: str, random_bytes: Callable[[int], bytes]) -> Person:
    owner, data, app_key = (AppKey(random_bytes(32)) for _ in range(3))
    return Person(name, app, owner, data, app_key)


def make_association_token(person: Person, now: UnixTime, random_bytes: Callable[[int], bytes]) -> str:
    """Lets the app write at a hub with a whitelist: the wallet vouches that the app's bucket is its user's."""
    claims = {
        "childToAssociate": person.app_key.public,
        "iss": person.data.public,
        "exp": now + timedelta(days=365).total_seconds(),
        "iat": float(now),
        "salt": random_bytes(16).hex(),
    }
    return person.data.token(claims)


async def settle_person(
    person: Person,
    *,
    session: aiohttp.ClientSession,
    register: NameRegister,
    hub: Hub,
    now: UnixTime,
    random_bytes: Callable[[int], bytes],
) -> None:
    """Do what a wallet does at sign-up: publish the profile through the hub, and register the name.

    Before that, the hub's operator puts the person on the whitelist.
    """
    hub.whitelist.add(person.data.address)
    bucket = await open_bucket(session, hub.write_url, person.data, random_bytes(16), clock=hub.clock)
    url = await bucket.write("profile.json", make_profile(person, hub.read_url, now))
    zone_file = f'$ORIGIN {person.name}\n$TTL 3600\n_http._tcp\tIN\tURI\t10\t1\t"{url}"\n\n'
    register.names[person.name] = Registration(person.owner_address, zone_file)


def make_profile(person: Person, read_url: str, now: UnixTime) -> bytes:
    """`profile.json`: an array of one token, signed by the owner's key, with ISO times as wallets write them."""
    storage = f"{read_url}{person.app_key.address}/"
    signed_at = datetime.fromtimestamp(now, UTC)
    payload = {
        "jti": str(uuid.uuid4()),
        "iat": _iso(signed_at),
        "exp": _iso(signed_at + timedelta(days=365)),
        "subject": {"publicKey": person.owner.public},
        "issuer": {"publicKey": person.owner.public},
        "claim": {
            "@type": "Person",
            "@context": "http://schema.org",
            "apps": {person.app: storage},
            "appsMeta": {person.app: {"storage": storage, "publicKey": person.app_key.public}},
        },
    }
    return json.dumps([{"token": person.owner.token(payload)}], indent=2).encode()


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
