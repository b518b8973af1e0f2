"""What the store remembers of inboxes, and when the writer drops it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from inbox_server.store.sqlite.feed_ends import FeedEnd
from inbox_server.store.sqlite.jobs import Job
from inbox_server.store.sqlite.known import Known
from inbox_server.store.sqlite.policy import OwnersPolicy
from inbox_server.store.sqlite.sheets import KnownSheets

_MOST_ENDS: Final = 16_384  # about 300 bytes each
_MOST_POLICIES: Final = 8_192  # about 400 bytes each; 1.3 KB with the longest lists that are remembered
_MOST_SHEETS: Final = 256  # 16 KB each for up to 32 contacts, 64 KB at most; twice that at the turn of a week


class Remembered:
    """The ends of feeds, until anything changes in the inbox; policies and sheets, until the owner changes anything."""

    def __init__(self) -> None:
        self.feed_ends = Known[FeedEnd](_MOST_ENDS)
        self.policies = Known[OwnersPolicy](_MOST_POLICIES)
        self.sheets = Known[KnownSheets](_MOST_SHEETS)

    @contextmanager
    def changing(self, jobs: Sequence[Job]) -> Iterator[None]:
        inboxes = {job.inbox for job in jobs if job.inbox is not None}
        settled = {job.inbox for job in jobs if job.inbox is not None and job.settles}
        with (
            self.feed_ends.changing(inboxes),
            self.policies.changing(settled),
            self.sheets.changing(settled),
        ):
            yield
