"""The server but for its log, so that what the log costs can be measured: `python -m benchmarks.without_log`."""

import sys

from inbox_server import cli
from inbox_server.store.sqlite import delivering

if __name__ == "__main__":
    setattr(delivering, "is_logged", lambda _expires, _now: False)  # noqa: B010 — mypy takes no other assignment to a function
    sys.exit(cli.main())
