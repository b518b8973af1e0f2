"""How each kind of configuration value is checked: from the TOML value to the value that the program uses.

A parser gets the value and the directory of the file. It raises ValueError with a rule, or `Mistakes` with several.
"""

import re
from collections.abc import Callable, Iterable
from ipaddress import IPv6Network
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

from inbox_server.config.config import Listed, Listen, RegistrationMode, Static, Tcp, Unix
from inbox_server.identity.keys import parse_key
from inbox_server.identity.names import is_origin, parse_name, parse_recipient
from inbox_server.outgoing.guard import NotAllowed, read_nat64_prefix, read_url

T = TypeVar("T")

# Clients write these, and proxies append to them.
_UNTRUSTED_HEADERS: Final = frozenset({"x-forwarded-for", "forwarded", "authorization", "host"})
_LISTEN_TCP: Final = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):(?P<port>[0-9]{1,5})")


class Mistakes(ValueError):
    """Several mistakes in one key: each with where in the value it is (`[0].name`), and what is wrong."""

    def __init__(self, mistakes: list[tuple[str, str]]) -> None:
        super().__init__()
        self.mistakes = mistakes


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a string")
    return value


def flag(value: Any, _: Path) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def between(low: int, high: int) -> Callable[[Any, Path], int]:
    def parse(value: Any, _: Path) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return parse


def path(value: Any, base: Path) -> Path:
    text = _text(value)
    if not text:
        raise ValueError("must be a path")
    return base / text


def optional_path(value: Any, base: Path) -> Path | None:
    return path(value, base) if value != "" else None


def origin(value: Any, _: Path) -> str:
    text = _text(value)
    if not is_origin(text):
        raise ValueError("must be an origin such as https://inbox.example: lower case, no path, no slash at the end")
    return text


def service(value: Any, _: Path) -> str:
    text = _text(value)
    if not re.fullmatch(r"https?://[^\s?#@]+", text):
        raise ValueError("must be a URL such as https://api.hiro.so, without user, query or fragment")
    return text.rstrip("/")


def optional_service(value: Any, base: Path) -> str:
    return service(value, base) if value != "" else ""


def optional_user_id(value: Any, _: Path) -> str:
    """Of Matrix: appendices of the specification, section 4.2.1, and what servers made before it."""
    text = _text(value)
    if not re.fullmatch(r"(?:@[!-9;-~]+:[!-~]{1,230})?", text) or len(text) > 255:
        raise ValueError("must be a whole Matrix ID, such as @inbox:matrix.example")
    return text


def optional_url(value: Any, _: Path) -> str:
    text = _text(value)
    if text:
        try:
            read_url(text)
        except NotAllowed as error:
            raise ValueError(str(error)) from None
    return text


def credentials(value: Any, _: Path) -> str:
    """The value of an `Authorization` header. The message about a wrong one does not quote it."""
    text = _text(value)
    if not re.fullmatch(r"(?:[!-~]+(?: [!-~]+)*)?", text):
        raise ValueError('must be the whole value of the header, such as "Bearer tk_…", in visible ASCII characters')
    return text


def header(value: Any, _: Path) -> str:
    text = _text(value)
    if not re.fullmatch(r"[A-Za-z0-9-]*", text) or text.lower() in _UNTRUSTED_HEADERS:
        raise ValueError("must be the name of a header that the proxy sets itself, such as X-Real-IP")
    return text


def host(value: Any, _: Path) -> str:
    text = _text(value)
    if not is_origin(f"http://{text}"):
        raise ValueError("must be a host, with its port if it is unusual, such as inbox.example:8443")
    return text


def host_without_port(value: Any, base: Path) -> str:
    text = host(value, base)
    if ":" in text:
        raise ValueError("must be a host without a port, such as inbox-server")
    return text


def nat64_prefix(value: Any, _: Path) -> IPv6Network:
    return read_nat64_prefix(_text(value))


def mode(value: Any, _: Path) -> str:
    if value not in get_args(RegistrationMode):
        raise ValueError("must be listed, invite or open")
    return str(value)


def listen(value: Any, base: Path) -> Listen:
    text = _text(value)
    if text.startswith("unix:") and len(text) > len("unix:"):
        return Unix(base / text.removeprefix("unix:"))
    match = _LISTEN_TCP.fullmatch(text)
    if not match or int(match["port"]) > 65535:
        raise ValueError("must be host:port, such as 127.0.0.1:8710, or unix:/path/to/socket")
    return Tcp(match["host"].strip("[]"), int(match["port"]))


def optional_listen(value: Any, base: Path) -> Listen | None:
    return None if value == "" else listen(value, base)


def each(parse: Callable[[Any, Path], T]) -> Callable[[Any, Path], tuple[T, ...]]:
    """An array. `parse` must accept every entry."""

    def parse_array(value: Any, base: Path) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise ValueError("must be an array")
        steps = [(f"[{index}]", lambda entry=entry: parse(entry, base)) for index, entry in enumerate(value)]
        return tuple(_all(steps))

    return parse_array


def _all(steps: Iterable[tuple[str, Callable[[], T]]]) -> list[T]:
    """Every step's value, or all their mistakes at once."""
    values, mistakes = [], []
    for where, step in steps:
        try:
            values.append(step())
        except Mistakes as inner:
            mistakes += [(where + deeper, text) for deeper, text in inner.mistakes]
        except ValueError as error:
            mistakes.append((where, str(error)))
    if mistakes:
        raise Mistakes(mistakes)
    return values


def listed(value: Any, base: Path) -> Listed:
    if not isinstance(value, dict):
        return Listed(parse_recipient(_text(value)), None)
    if not {"identity"} <= value.keys() <= {"identity", "apps"}:
        raise ValueError("must have `identity`, may have `apps`, and nothing else")
    steps: list[tuple[str, Callable[[], Any]]] = [(".identity", lambda: parse_recipient(_text(value["identity"])))]
    if "apps" in value:
        steps.append((".apps", lambda: frozenset(each(origin)(value["apps"], base))))
    identity, *apps = _all(steps)
    return Listed(identity, apps[0] if apps else None)


def static(value: Any, base: Path) -> Static:
    if not isinstance(value, dict) or value.keys() != {"name", "app", "key"}:
        raise ValueError("must have name, app and key, and nothing else")
    steps: list[tuple[str, Callable[[], Any]]] = [
        (".name", lambda: parse_name(_text(value["name"])).text),
        (".app", lambda: origin(value["app"], base)),
        (".key", lambda: parse_key(_text(value["key"]))),
    ]
    name, app, key = _all(steps)
    return Static(name, app, key)
