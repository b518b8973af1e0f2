"""What an operator is told of a failure: what it was, and what to do."""

import ssl
from collections.abc import Sequence
from typing import Final

import asyncpg

_SET_UP: Final = "docs/postgresql.md, Set up."
# The first that a failure is one of.
_ADVICE: Final[Sequence[tuple[type[BaseException] | tuple[type[BaseException], ...], str]]] = (
    (  # it refuses the settings of a session, or forgets statements that were prepared
        (
            asyncpg.ProtocolViolationError,
            asyncpg.InvalidSQLStatementNameError,
            asyncpg.DuplicatePreparedStatementError,
        ),
        "It seems that a pooler is in between. Connect without it: docs/postgresql.md, Poolers.",
    ),
    (
        asyncpg.InvalidAuthorizationSpecificationError,
        "It refuses the role, or its password: is the role in the URL right, and the password in the file? PostgreSQL's"
        " log says why.",
    ),
    (asyncpg.InvalidCatalogNameError, f"There is no database of the name in the URL. Create it: {_SET_UP}"),
    (asyncpg.InvalidSchemaNameError, f"There is no schema of the name in the URL (search_path). Create it: {_SET_UP}"),
    (asyncpg.InsufficientPrivilegeError, f"Let the role own the database, or the schema: {_SET_UP}"),
    (
        asyncpg.TooManyConnectionsError,
        "All connections are taken. Raise max_connections: docs/postgresql.md, Layouts and sizes.",
    ),
    (asyncpg.PostgresError, "PostgreSQL's log says more, and so does `inbox-server doctor`."),
    (asyncpg.exceptions.ClientConfigurationError, "Is a value in the URL mistyped?"),
    (ssl.SSLError, "Are the certificates that the URL names those for this PostgreSQL, and the host's name its own?"),
    ((FileNotFoundError, PermissionError), "Can this user read the files that the URL names, and is the socket there?"),
)


def advice(error: BaseException) -> str:
    """What an operator may do about a failure."""
    if type(error) is ConnectionError:  # as asyncpg has it; the system's own errors are of kinds below this one
        return (
            "It offers no TLS, for which the URL asks (sslmode), or ended the line instead: does PostgreSQL run there?"
        )
    known = (advice for kinds, advice in _ADVICE if isinstance(error, kinds))
    return next(known, "Does it run, is one of the hosts the primary, and is the URL right?")


def answered(error: BaseException) -> bool:
    """Whether PostgreSQL was reached, and said this."""
    return isinstance(error, asyncpg.PostgresError)


def reason(error: BaseException) -> str:
    """What an operator may read of a failure: PostgreSQL's own texts may hold values."""
    state = getattr(error, "sqlstate", None)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__} ({state})" if state else type(error).__name__
