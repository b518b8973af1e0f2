"""All groups of the suite, in the order of the report."""

from collections.abc import Collection
from typing import Final

from inbox_server.conformance.cases import Case, Group
from inbox_server.conformance.groups import (
    ack,
    deliver,
    errors,
    events,
    features,
    follow,
    headers,
    limits,
    moving,
    names,
    order,
    pages,
    push,
    sealed,
    settings,
    tokens,
    trust,
)

GROUPS: Final[tuple[Group, ...]] = (
    tokens.GROUP,
    deliver.GROUP,
    pages.GROUP,
    follow.GROUP,
    events.GROUP,
    ack.GROUP,
    settings.GROUP,
    names.GROUP,
    push.GROUP,
    sealed.GROUP,
    errors.GROUP,
    headers.GROUP,
    limits.GROUP,
    order.GROUP,
    moving.GROUP,
    trust.GROUP,
    features.GROUP,
)


class NoSuchCase(ValueError):
    """The message says what there is."""


def chosen(only: Collection[str], *, quick: bool = False) -> list[Case]:
    """The cases of these groups, and those with these ids; all if none is named. Raises `NoSuchCase`.

    With `quick`, without those that wait for longer than all others together.
    """
    every = [case for group in GROUPS for case in group.cases]
    known = {case.group for case in every} | {case.id for case in every}
    unknown = sorted(set(only) - known)
    if unknown:
        names = ", ".join(group.name for group in GROUPS)
        raise NoSuchCase(f"{unknown[0]} is neither a group ({names}) nor a case such as {every[0].id}")
    named = [case for case in every if not only or case.group in only or case.id in only]
    return [case for case in named if not (quick and case.slow)]
