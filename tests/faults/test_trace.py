"""The reading of traces notices answers before their sync: a trace that was kept, and bent in one place each."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults.trace import answers_in, calls_in, early_truncations

KEPT = Path(__file__).with_name("delivery.strace").read_text().splitlines()


def _line(words: str) -> int:
    """The number of the one kept line that has these words."""
    (number,) = (number for number, line in enumerate(KEPT) if words in line)
    return number


def _moved(line: int, before: int) -> list[str]:
    rest = [*KEPT[:line], *KEPT[line + 1 :]]
    return [*rest[:before], KEPT[line], *rest[before:]]


def _instead(line: int, *lines: str) -> list[str]:
    return [*KEPT[:line], *lines, *KEPT[line + 1 :]]


TEXT = "an encrypted message ID"
CREATED, READ, EMPTIED = _line("HTTP/1.1 201"), _line("HTTP/1.1 204"), _line("-wal>, 0) = 0")
WRITTEN, SYNCED = _line(f"...{TEXT}..."), CREATED - 1
SYNC_BEGINS = KEPT[SYNCED].replace(") = 0", " <unfinished ...>")
SYNC_ENDS = "102 <... fdatasync resumed>) = 0"


def _early(trace: Sequence[str]) -> list[int]:
    return [answer.status for answer in answers_in(calls_in(trace), (201, 204)) if not answer.synced]


def test_the_kept_trace_is_as_it_should_be() -> None:
    answers = answers_in(calls_in(KEPT), (201, 204))
    assert [(answer.status, answer.text, answer.line) for answer in answers] == [
        (201, TEXT, CREATED),
        (204, None, READ),
    ]
    assert _early(KEPT) == _early(_instead(SYNCED, SYNC_BEGINS, SYNC_ENDS)) == []
    assert early_truncations(calls_in(KEPT)) == []


@pytest.mark.parametrize(
    ("trace", "early"),
    [
        pytest.param(_moved(CREATED, before=SYNCED), [201], id="answered before the sync"),
        pytest.param(_moved(CREATED, before=WRITTEN), [201], id="answered before the write"),
        pytest.param(_moved(READ, before=READ - 1), [204], id="acknowledged before the sync"),
        pytest.param(_instead(SYNCED), [201], id="never synced"),
        pytest.param(
            [*KEPT[:SYNCED], SYNC_BEGINS, KEPT[CREATED], SYNC_ENDS, *KEPT[CREATED + 1 :]],
            [201],
            id="answered in the sync",
        ),
        pytest.param(_moved(SYNCED, before=WRITTEN), [201], id="synced before the last page"),
        pytest.param(_instead(SYNCED, KEPT[SYNCED].replace("-wal", "")), [201], id="another file synced"),
        pytest.param(
            _instead(SYNCED, KEPT[SYNCED].replace("= 0", "= -1 EIO (Input/output error)")), [201], id="the sync failed"
        ),
        pytest.param(_instead(WRITTEN, KEPT[WRITTEN].replace(TEXT, "")), [201], id="another text was written"),
    ],
)
def test_an_early_answer_is_noticed(trace: list[str], early: list[int]) -> None:
    assert _early(trace) == early


def test_a_log_that_is_emptied_too_early_is_noticed() -> None:
    assert early_truncations(calls_in(_moved(EMPTIED, before=EMPTIED - 1)))
