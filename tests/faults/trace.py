"""A server's system calls, as strace saw them: which answers were sent before what they promise was on disk.

strace writes a line when a call begins or ends, so the order of lines is the order of what happened. A transaction is
on disk when the page behind its last frame was written to the write-ahead log and a sync of the log, begun after that,
returned 0. https://www.sqlite.org/fileformat2.html#walformat says which frame is the last.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from inbox_server.store.sqlite.opening import DATABASE_NAME

_RECEIVES: Final = frozenset({"read", "readv", "recvfrom", "recvmsg"})
_WRITES: Final = frozenset({"write", "writev", "pwrite64", "pwritev", "sendto", "sendmsg"})
_SYNCS: Final = frozenset({"fsync", "fdatasync"})
COMMAND: Final = (
    "strace",
    *("-f", "-qq", "-yy"),  # every thread, no chatter, the names of files and the ends of sockets
    *("-s", "4200"),  # a page is 4,096 bytes, a request and an answer are less
    *("-e", f"trace=ftruncate,prctl,{','.join(sorted(_RECEIVES | _WRITES | _SYNCS))}"),
    # A tracer without CAP_SYS_PTRACE cannot read what is undumpable: PR_SET_DUMPABLE is answered, and not done.
    *("-e", "inject=prctl:retval=0"),
)
_LOG: Final = f"/{DATABASE_NAME}-wal"
_FILE: Final = f"/{DATABASE_NAME}"
_FRAME_HEADER_BYTES: Final = 24

_HEAD: Final = r"(\d+) +(?:(\d+\.\d+) )?"  # the thread, and with -ttt the time
_WHOLE: Final = re.compile(_HEAD + r"(\w+)\((.*)\) += (-?\d+)")
_BEGUN: Final = re.compile(_HEAD + r"(\w+)\((.*) <unfinished \.\.\.>$")
_ENDED: Final = re.compile(_HEAD + r"<\.\.\. (\w+) resumed>(.*)\) += (-?\d+)")
_DESCRIPTOR: Final = re.compile(r"\d+<(TCP:\[[^]]*\]|[^>]*)>")
_STRING: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
_STATUS: Final = re.compile(r'"HTTP/1\.1 (\d{3}) ')
_MESSAGE_ID: Final = re.compile(r'\{\\"message_id\\": \\"([^\\]*)\\"')


@dataclass(frozen=True, slots=True)
class Call:
    """One system call. `begun` and `ended` are lines of the trace.

    `file` is the path of the descriptor in the first argument, or both ends of a connection, or "". `time` is 0 when
    the trace has none.
    """

    name: str
    file: str
    arguments: str
    result: int
    begun: int
    ended: int
    time: float


@dataclass(frozen=True, slots=True)
class Sent:
    """An answer. `text` is the message ID of the delivery that it answers; `line` is where its sending began."""

    status: int
    text: str | None
    synced: bool
    line: int


def calls_in(lines: Iterable[str]) -> list[Call]:
    """The calls that ended, in the order in which they began."""
    calls, begun = [], dict[str, tuple[int, str | None, str]]()
    for number, line in enumerate(lines):
        if match := _BEGUN.match(line):
            begun[match[1]] = number, match[2], match[4]
        elif match := _ENDED.match(line):
            start, time, arguments = begun.pop(match[1])
            calls.append(_call(match[3], arguments + match[4], match[5], start, number, time))
        elif match := _WHOLE.match(line):
            calls.append(_call(match[3], match[4], match[5], number, number, match[2]))
    return sorted(calls, key=lambda call: call.begun)


def _call(name: str, arguments: str, result: str, begun: int, ended: int, time: str | None) -> Call:
    descriptor = _DESCRIPTOR.match(arguments)
    return Call(name, descriptor[1] if descriptor else "", arguments, int(result), begun, ended, float(time or 0))


def answers_in(calls: Sequence[Call], statuses: Iterable[int]) -> list[Sent]:
    """The answers of these statuses, to requests that write; whether each was sent after the sync of what it says."""
    log = [call for call in calls if call.file.endswith(_LOG) and call.name in _WRITES]
    commits = [page for header, page in pairwise(log) if _is_last_frame(header)]
    synced = [(commit, _synced(calls, commit)) for commit in commits]
    found = []
    for send in calls:
        status = _STATUS.search(send.arguments) if send.name in _WRITES else None
        if status is None or int(status[1]) not in statuses:
            continue
        asked = _asked(calls, send)
        match = _MESSAGE_ID.search(asked.arguments)
        since = asked.ended + 1
        if match:  # not any transaction since: the one that the text is in
            since = next((call.begun for call in log if call.begun >= since and match[1] in call.arguments), send.begun)
        safe = next((line for commit, line in synced if commit.begun >= since), None)
        early = safe is None or safe >= send.begun
        found.append(Sent(int(status[1]), match[1] if match else None, not early, send.begun))
    return found


def early_truncations(calls: Sequence[Call]) -> list[Call]:
    """Where the log was emptied before what was copied into the database file had been synced there."""
    found = []
    for call in calls:
        if call.name == "ftruncate" and call.file.endswith(_LOG):
            copied = [write for write in calls if write.file.endswith(_FILE) and write.ended < call.begun]
            writes = [write for write in copied if write.name in _WRITES]
            line = _synced(calls, writes[-1]) if writes else None
            if writes and (line is None or line >= call.begun):
                found.append(call)
    return found


def _asked(calls: Sequence[Call], send: Call) -> Call:
    """The last bytes of the request: clients send the next one after the answer."""
    received = (call for call in calls if call.name in _RECEIVES and call.file == send.file and call.result > 0)
    return max((call for call in received if call.ended < send.begun), key=lambda call: call.ended)


def _is_last_frame(header: Call) -> bool:
    """Whether this is the header of a transaction's last frame: its bytes 4 to 7, the database's size, are not 0."""
    string = _STRING.search(header.arguments)
    if header.result != _FRAME_HEADER_BYTES or string is None:
        return False
    return string[1].encode("ascii").decode("unicode_escape")[4:8] != "\0\0\0\0"


def _synced(calls: Sequence[Call], write: Call) -> int | None:
    """The line at which a sync of the same file, begun after the write, had succeeded."""
    syncs = (call for call in calls if call.name in _SYNCS and call.file == write.file and call.result == 0)
    return min((call.ended for call in syncs if call.begun > write.ended), default=None)
