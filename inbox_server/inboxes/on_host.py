"""What the server processes of a host count together, in memory that is made before they are started."""

from inbox_server.inboxes.forgotten import Forgotten
from inbox_server.inboxes.opened import Opened
from inbox_server.inboxes.rate_limits import HourlyCounts
from inbox_server.notify.pauses import Pauses


class OnHost:
    """`process` is the number of the process that uses it, from 0; the others have the same memory."""

    def __init__(self, processes: int = 1) -> None:
        self.process = 0
        self.counts = HourlyCounts(processes)
        self.opened = Opened()
        self.forgotten = Forgotten()
        self.pauses = Pauses()
