"""What the exit codes of all commands mean: for scripts, the manual page, and docs/commands.md."""

from collections.abc import Mapping
from typing import Final

FAILED: Final = 1
USAGE: Final = 2
PARTLY: Final = 3
INTERRUPTED: Final = 130  # like a program that SIGINT ended
PIPE: Final = 141  # like one that SIGPIPE ended

EXIT_CODES: Final[Mapping[int, str]] = {
    0: "everything was done; for `doctor`, `ping` and `conformance`: nothing failed",
    FAILED: "failed: nothing was done, or the command did not finish and says so; or a check failed",
    USAGE: "usage error: something is wrong with the arguments, the configuration, the secret or the profile's file; or"
    " `conformance` could not run",
    PARTLY: "partly done (only `client`): at one of several inboxes, or for some of several messages; the output says"
    " which. For `client audit`: something cannot be checked",
    INTERRUPTED: "stopped by Ctrl-C (`client watch` exits with 0, and `serve` with 0 once it has stopped)",
    PIPE: "the program that read the output ended first, as `head` does; `read --ack` has acknowledged nothing then",
}
