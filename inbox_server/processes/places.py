"""Where a server listens: at the addresses of its configuration, or on sockets that systemd or a parent hold."""

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from inbox_server.config.config import BadConfig, Config, Listen, Tcp, Unix
from inbox_server.config.file import NOT_LOOPBACK, is_private
from inbox_server.http.listening import cannot_listen
from inbox_server.http.unix_socket import bound_socket
from inbox_server.systemd import inherited_sockets

Place = Listen | socket.socket


@dataclass(frozen=True, slots=True)
class Places:
    public: tuple[Place, ...]
    admin: tuple[Place, ...]


def places_of(config: Config, environment: Mapping[str, str]) -> Places:
    """Those of this process. Sockets that systemd holds take the place of those in the configuration.

    Raises `BadConfig` for a socket of systemd's that others can reach without a proxy.
    """
    inherited, inherited_admin = inherited_sockets(environment, os.getpid())
    for each in (*inherited, *inherited_admin):
        if not config.behind_proxy and not is_private(_address(each)):
            raise BadConfig([f"systemd's socket at {each.getsockname()[0]} {NOT_LOOPBACK}"])
    admin = (config.admin_listen,) if config.admin_listen else ()
    return Places(tuple(inherited) or (config.listen,), tuple(inherited_admin) or admin)


def _address(inherited: socket.socket) -> Listen:
    address = inherited.getsockname()
    return Unix(Path(address)) if inherited.family == socket.AF_UNIX else Tcp(*address[:2])


@contextlib.contextmanager
def held_for_children(places: Places) -> Iterator[Places]:
    """The places as the parent of several server processes holds them; nothing listens yet. Raises `CannotListen`.

    Public TCP addresses are only reserved: each process listens there on a socket of its own (`opened_by_child`), and
    the system deals the connections out. Every other socket is one for all processes.
    """
    with contextlib.ExitStack() as stack:

        def hold(place: Place, *, shared: bool) -> Iterator[socket.socket]:
            try:
                if isinstance(place, socket.socket):
                    yield place
                elif isinstance(place, Unix):
                    yield stack.enter_context(bound_socket(place.path))
                else:
                    yield from (stack.enter_context(each) for each in _bound(place, shared=shared))
            except OSError as error:
                raise cannot_listen(place, error) from error

        public = tuple(each for place in places.public for each in hold(place, shared=False))
        admin = tuple(each for place in places.admin for each in hold(place, shared=True))
        yield Places(public, admin)


@contextlib.contextmanager
def opened_by_child(held: Places) -> Iterator[Places]:
    """The same places for one of the processes: with a socket of its own for each address that is only reserved."""
    with contextlib.ExitStack() as stack:
        public = (
            stack.enter_context(_bind(each.family, each.getsockname(), reused=True))
            if isinstance(each, socket.socket) and _is_reserved(each)
            else each
            for each in held.public
        )
        yield replace(held, public=tuple(public))


def _is_reserved(held: socket.socket) -> bool:
    """systemd's sockets can have the option too, but listen already."""
    return (
        held.family != socket.AF_UNIX
        and bool(held.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT))
        and not held.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    )


def _bound(place: Tcp, *, shared: bool) -> Iterator[socket.socket]:
    """Sockets at all addresses of a place."""
    for family, *_, address in socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM):
        alone = _bind(family, address, reused=False)  # fails when a server listens there, whichever it is
        if shared:
            yield alone
        else:
            address = alone.getsockname()
            alone.close()
            yield _bind(family, address, reused=True)


def _bind(family: int, address: object, *, reused: bool) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reused:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)  # type: ignore[arg-type]  # as getaddrinfo or getsockname gave it
    except OSError:
        bound.close()
        raise
    return bound
