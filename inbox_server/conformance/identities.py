"""Who poses as owner and as sender: keys made for the run, and names that the tester owns."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inbox_server.client.appkey import AppKey
from inbox_server.identity.names import NotAnIdentity, is_origin, parse_name


@dataclass(frozen=True, slots=True)
class Identity:
    """An app key. `name` is set if its owner published a profile that leads from this name to the key."""

    key: AppKey
    app: str
    name: str | None = None

    @property
    def sender(self) -> str:
        """What stands in `iss` of its deliveries."""
        return self.name or self.key.public


class BadNames(ValueError):
    """The file has no identities; the message says what it should have."""


def read_names(path: Path) -> tuple[Identity, ...]:
    """A profile of `inbox-server client keygen --name`, or what `inbox-server dev --json` prints. Raises `BadNames`.

    The messages quote nothing from the file, which holds private keys.
    """
    try:
        document = json.loads(path.read_bytes())
        if "people" in document:
            found = tuple(
                _identity(person | {"app": document["app"]}, "app_private_key") for person in document["people"]
            )
        else:
            found = (_identity(document, "key"),)
    except OSError as error:
        raise BadNames(f"{path}: cannot be read: {error.strerror}") from None
    except (KeyError, TypeError, ValueError):
        raise BadNames(
            f"{path}: must be a profile that `inbox-server client keygen --name NAME` wrote,"
            " or what `inbox-server dev --json` printed"
        ) from None
    if not found:
        raise BadNames(f"{path}: nobody is in it")
    return found


def _identity(members: dict[str, Any], key: str) -> Identity:
    """Raises KeyError, TypeError or ValueError."""
    app, name = members["app"], members["name"]
    try:
        parse_name(name)
    except NotAnIdentity as error:
        raise ValueError from error
    if not is_origin(app):
        raise ValueError
    return Identity(AppKey.from_hex(members[key]), app, name)
