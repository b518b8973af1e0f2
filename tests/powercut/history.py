"""What clients may rely on when the power goes at some step: what had been answered by then, and what was under way.

An answer counts from the step on at which the server began to send it.
"""

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from tests.faults.clients import Box, QuickKey
from tests.faults.model import Faults, Ledger, Reading
from tests.powercut.disk import Mark, Unknown
from tests.powercut.recording import Recording
from tests.powercut.timeline import TERMINAL
from tests.powercut.workload import ALONE, FLEETING, Asked, boxes
from tests.support.requests import id_of

_ANSWERED, _SENT = 0, 1  # the next request of a client is sent after the answer to the one before


@dataclass(slots=True)
class Inbox:
    """A box, what is known of it, and its devices with the cursors that they had."""

    box: Box
    readings: dict[str, Reading]
    claimed: bool = False
    acknowledged: set[str] = field(default_factory=set)
    """The ids whose acknowledgement was answered."""
    has_sheet: bool = False
    """Whether the sheet of tickets was answered."""
    spent: dict[str, str] = field(default_factory=dict)
    """Texts by the ticket, in hex, that they were answered with."""
    sealed: dict[str, str] = field(default_factory=dict)
    """The same of those that were not answered."""


@dataclass(slots=True)
class Known:
    """What is known at one moment."""

    faults: Faults
    inboxes: list[Inbox]
    views: list[Any] = field(default_factory=lambda: [None])
    """What the owner who is alone may see: as it was answered last, and as it is if what was under way was done."""
    seen: set[str] = field(default_factory=set)
    """The texts that this owner saw at any time."""
    brief: dict[str, int | None] = field(default_factory=dict)
    """When texts expire that were delivered for a short time; None if the delivery was not answered."""
    answered: int = 0

    def gone(self, texts: dict[str, str]) -> set[str]:
        """The texts that were acknowledged, or deleted with their inbox; `texts` by their ids."""
        gone = {texts[id] for inbox in self.inboxes for id in inbox.acknowledged}
        return gone | self.seen.difference(*(view["texts"] for view in self.views if view))

    def expired(self, now: int) -> set[str]:
        return {text for text, expires in self.brief.items() if expires is not None and expires <= now}


class History:
    """A recording's requests, each with the steps at which it was sent at the earliest, and answered."""

    def __init__(self, recording: Recording) -> None:
        self.keys = {subject: QuickKey(bytes.fromhex(key)) for subject, key in recording.keys.items()}
        self.texts = {id_of(each.what): each.what for each in recording.asked if each.kind == "deliver"}
        self._moments = sorted(_moments(recording), key=lambda each: each[:2])

    def at(self, cut: int) -> Known:
        """What is known when the first `cut` steps were done. Its faults are those that a server shows from then on."""
        faults = Faults()
        inboxes = {
            subject: Inbox(Box(self.keys[subject], Ledger(faults)), {}) for subject in boxes() if subject in self.keys
        }
        known, sent = Known(faults, list(inboxes.values())), dict[str, int]()
        for step, order, asked in self._moments:
            if step >= cut:
                break
            answers = order == _ANSWERED
            known.answered += answers
            if asked.subject in inboxes:
                _note(inboxes[asked.subject], asked, sent, answers=answers)
            elif asked.subject == ALONE:
                _note_view(known, asked, answers=answers)
            elif asked.subject == FLEETING and asked.kind == "deliver":
                known.brief[asked.what] = asked.answer["expires"] if answers else None
        faults.counts.clear()  # what was wrong while the power was there is for `make torture` to find
        faults.told.clear()
        return known


def _moments(recording: Recording) -> list[tuple[int, int, Asked]]:
    """Each request twice: when it was sent at the earliest, and when it was answered. Raises `Unknown`."""
    answers, asked = defaultdict[str, list[tuple[int, Mark]]](list), defaultdict[str, list[Asked]](list)
    for number, step in enumerate(recording.timeline.steps):
        if isinstance(step, Mark) and step.asked_by != TERMINAL:
            answers[step.asked_by].append((number, step))
    for each in recording.asked:
        asked[each.client].append(each)
    moments = []
    for client in answers.keys() | asked.keys():
        theirs, marks = asked[client], answers[client]
        if [str(each.status) for each in theirs] != [mark.said for _, mark in marks]:
            raise Unknown(f"the answers to {client} in the trace are not those that it got")
        before = 0
        for each, (number, _) in zip(theirs, marks, strict=True):
            moments += [(max(before, _start_of_life(recording, number)), _SENT, each), (number, _ANSWERED, each)]
            before = number
    return moments


def _start_of_life(recording: Recording, step: int) -> int:
    """The first step of the program that did this one."""
    return [0, *recording.ends][bisect_right(recording.ends, step)]


def _note(inbox: Inbox, asked: Asked, sent: dict[str, int], *, answers: bool) -> None:
    ledger = inbox.box.ledger
    if asked.kind == "claim":
        inbox.claimed |= answers
    elif asked.kind == "sheet":
        inbox.has_sheet |= answers
    elif asked.kind == "deliver" and not answers:
        sent[asked.client] = ledger.send(asked.what)
        if asked.ticket and asked.ticket not in inbox.spent:
            inbox.sealed[asked.ticket] = asked.what
    elif asked.kind == "deliver":
        if inbox.sealed.pop(asked.ticket, ""):
            inbox.spent[asked.ticket] = asked.what
        ledger.delivered(asked.what, sent[asked.client], asked.answer, new=asked.status == 201)
    elif asked.kind == "ack" and not answers:
        ledger.send_ack(asked.what)
    elif asked.kind == "ack":
        ledger.acknowledged(asked.what)
        inbox.acknowledged.update(asked.what)
    elif not answers:
        sent[asked.client] = ledger.now()
    else:
        if asked.what is None:  # without a cursor: a device that begins
            inbox.readings[asked.client] = Reading(ledger)
        inbox.readings[asked.client].take(asked.answer, sent[asked.client])


def _note_view(known: Known, asked: Asked, *, answers: bool) -> None:
    known.views = [asked.what] if answers else [known.views[-1], asked.what]
    known.seen.update(*(view["texts"] for view in known.views if view))
