"""The model notices each kind of fault: short histories of one inbox, each told as a broken server would tell it."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.faults.model import Faults, Kind, Ledger, Reading
from tests.support.requests import id_of

EXPIRES = 1_900_000_000


@dataclass(slots=True)
class History:
    """An inbox as its clients see it. Texts are single letters."""

    faults: Faults = field(default_factory=Faults)
    ledger: Ledger = field(init=False)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.faults)

    def deliver(self, text: str, *, new: bool = True, id: str | None = None) -> None:
        receipt = {"id": id or id_of(text), "expires": EXPIRES}
        self.ledger.delivered(text, self.ledger.send(text), receipt, new=new)

    def acknowledge(self, *texts: str) -> None:
        ids = [id_of(text) for text in texts]
        self.ledger.send_ack(ids)
        self.ledger.acknowledged(ids)

    def lists(
        self, texts: str, read: str = "", *, by: Reading | None = None, asked: int | None = None, more: bool = False
    ) -> Reading:
        """What a server answers to a new reader, or to one that goes on."""
        reading = by or Reading(self.ledger)
        messages = [{"id": id_of(text), "message_id": text, "expires": EXPIRES} for text in texts]
        page = {"messages": messages, "read": [id_of(text) for text in read], "cursor": "there", "more": more}
        reading.take(page, self.ledger.now() if asked is None else asked)
        return reading

    def restarts(self, texts: str) -> None:
        """The server comes back, and this is what it holds."""
        self.ledger.settle(self.lists(texts).unread)


def an_answered_delivery_is_not_listed(history: History) -> None:
    history.deliver("a")
    history.lists("")


def a_listed_delivery_is_not_listed_again(history: History) -> None:
    history.ledger.send("a")
    history.lists("a")
    history.lists("")


def an_unanswered_delivery_was_there_and_goes(history: History) -> None:
    history.ledger.send("a")
    history.restarts("a")
    history.restarts("")


def an_ack_that_was_not_done_is_done_later(history: History) -> None:
    history.deliver("a")
    history.ledger.send_ack([id_of("a")])
    history.restarts("a")
    history.restarts("")


def a_device_misses_an_entry(history: History) -> None:
    history.deliver("a")
    device = history.lists("a")
    history.deliver("b")
    history.lists("", by=device)


def an_acknowledged_entry_is_listed(history: History) -> None:
    history.deliver("a")
    history.acknowledge("a")
    history.lists("a")


def an_unanswered_ack_was_done_and_is_undone(history: History) -> None:
    history.deliver("a")
    history.ledger.send_ack([id_of("a")])
    history.restarts("")
    history.restarts("a")


def an_entry_that_was_read_elsewhere_is_listed(history: History) -> None:
    history.deliver("a")
    device = history.lists("")
    history.acknowledge("a")
    history.lists("", "a", by=device)
    history.lists("a", by=device, asked=0)


def an_entry_is_listed_twice(history: History) -> None:
    history.deliver("a")
    history.lists("aa")


def a_device_is_told_an_entry_again(history: History) -> None:
    history.deliver("a")
    history.lists("a", by=history.lists("a"))


def a_device_is_told_twice_that_it_was_read(history: History) -> None:
    history.deliver("a")
    device = history.lists("a")
    history.acknowledge("a")
    history.lists("", "a", by=history.lists("", "a", by=device))


def a_repeat_is_answered_as_new(history: History) -> None:
    history.deliver("a")
    history.deliver("a")


def a_repeat_after_an_ack_is_answered_as_new(history: History) -> None:
    history.deliver("a")
    history.acknowledge("a")
    history.deliver("a")


def a_later_entry_is_listed_first(history: History) -> None:
    history.deliver("a")
    history.deliver("b")
    history.lists("ba")


def a_later_entry_is_on_an_earlier_page(history: History) -> None:
    history.deliver("a")
    history.deliver("b")
    history.lists("a", by=history.lists("b", more=True))


def an_entry_is_listed_that_nobody_sent(history: History) -> None:
    history.lists("a")


def an_unanswered_delivery_was_not_there_and_comes(history: History) -> None:
    history.ledger.send("a")
    history.restarts("")
    history.restarts("a")


def a_first_delivery_is_answered_as_a_repeat(history: History) -> None:
    history.deliver("a", new=False)


def a_receipt_has_another_id(history: History) -> None:
    history.deliver("a", id=id_of("b"))


def an_entry_is_read_that_nobody_acknowledged(history: History) -> None:
    history.lists("", "a")


@pytest.mark.parametrize(
    ("story", "kind"),
    [
        (an_answered_delivery_is_not_listed, "lost"),
        (a_listed_delivery_is_not_listed_again, "lost"),
        (an_unanswered_delivery_was_there_and_goes, "lost"),
        (an_ack_that_was_not_done_is_done_later, "lost"),
        (a_device_misses_an_entry, "lost"),
        (an_acknowledged_entry_is_listed, "returned"),
        (an_unanswered_ack_was_done_and_is_undone, "returned"),
        (an_entry_is_listed_twice, "doubled"),
        (a_device_is_told_an_entry_again, "doubled"),
        (a_device_is_told_twice_that_it_was_read, "doubled"),
        (a_repeat_is_answered_as_new, "doubled"),
        (a_repeat_after_an_ack_is_answered_as_new, "doubled"),
        (a_later_entry_is_listed_first, "misordered"),
        (a_later_entry_is_on_an_earlier_page, "misordered"),
        (an_entry_is_listed_that_nobody_sent, "invented"),
        (an_unanswered_delivery_was_not_there_and_comes, "invented"),
        (a_first_delivery_is_answered_as_a_repeat, "invented"),
        (a_receipt_has_another_id, "invented"),
        (an_entry_is_read_that_nobody_acknowledged, "invented"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_fault_is_noticed(story: Callable[[History], None], kind: Kind) -> None:
    history = History()
    story(history)
    assert dict(history.faults.counts) == {kind: 1}


def test_what_is_uncertain_may_be_either_and_is_no_fault() -> None:
    for there in ("", "a"):
        history = History()
        history.ledger.send("a")
        history.restarts(there)
        history.deliver("a", new=not there)
        history.ledger.send_ack([id_of("a")])
        history.restarts("")
        assert not history.faults.counts
    history = History()
    history.deliver("a")
    history.ledger.send_ack([id_of("a")])
    history.restarts("a")
    history.acknowledge("a")
    history.deliver("a", new=False)
    history.restarts("")
    assert not history.faults.counts


def test_entries_under_way_together_may_stand_in_either_order() -> None:
    for texts in ("abc", "bac"):
        history = History()
        first, second = history.ledger.send("a"), history.ledger.send("b")
        for text, asked in (("a", first), ("b", second)):
            history.ledger.delivered(text, asked, {"id": id_of(text), "expires": EXPIRES}, new=True)
        history.deliver("c")
        history.lists(texts)
        assert not history.faults.counts
