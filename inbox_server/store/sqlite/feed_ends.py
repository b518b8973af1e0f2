"""The ends of inboxes' feeds: most polls find nothing, and need no query."""

from dataclasses import dataclass

from inbox_server.store.contract import Cursor, Page


@dataclass(frozen=True, slots=True)
class FeedEnd:
    """The end of an inbox's feed, and whether a list from the start was seen to be empty."""

    end: Cursor
    empty: bool

    def page_after(self, after: Cursor | None) -> Page | None:
        """The empty page, if that is what there is after this cursor; None when the database must be asked."""
        if after is None:
            return Page((), (), self.end, more=False) if self.empty else None
        caught_up = after.generation == self.end.generation and after.change == self.end.change >= after.listed_at
        return Page((), (), self.end, more=False) if caught_up else None
