"""Finds entries of one message that a sender delivered under several encryptions, on all pages and inboxes."""

from collections import OrderedDict

from inbox_server.client.reports import Entry


class Twins:
    """`most`: how many messages it remembers."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._first: OrderedDict[tuple[str, str], tuple[str, ...]] = OrderedDict()
        self._twins: OrderedDict[str, tuple[str, ...]] = OrderedDict()

    def join(self, entry: Entry) -> bool:
        """Whether the entry's message has been reported as another entry, with other ids."""
        if entry.pointer is None:
            return False
        message = (entry.pointer.sender, entry.pointer.id)
        earlier = self._first.get(message, ())
        ids = self._first[message] = tuple(dict.fromkeys(earlier + entry.ids))
        if earlier:
            self._twins.update(dict.fromkeys(ids, ids))
        for known in (self._first, self._twins):
            while len(known) > self._most:
                known.popitem(last=False)
        return not set(earlier) <= set(entry.ids)

    def of(self, id: str) -> tuple[str, ...]:
        """All ids of the entry's message, including its own; empty if there is only one."""
        return self._twins.get(id, ())
