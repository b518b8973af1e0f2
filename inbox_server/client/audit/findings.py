"""What an audit can find: a code to act on, words for people, and evidence for others.

The codes are the same in every client: docs/client.md lists them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

ACCUSES: Final[Mapping[str, str]] = {
    "receipt_without_entry": "it signed for a delivery that its log does not have",
    "not_in_log": "it listed an entry that its log does not have",
    "withheld": "it logged an entry and shows it neither as unread nor as read",
    "rewritten": "its log was changed after it was checked, or does not hold together",
    "rolled_back": "its log ends before the place up to which it was checked",
    "base_moved": "its log begins after entries that nobody has checked and that it must still keep",
    "replayed": "it gave a signed answer that was for another question",
    "swapped": "it lists a text under the id of another one",
}
CANNOT_CHECK: Final[Mapping[str, str]] = {
    "other_key": "it signs with another key than your card says; if its operator changed its secret, publish again",
    "restored": "its operator put an earlier copy back, and what came after the copy may be lost",
    "away_too_long": "its log was not checked for longer than the server keeps it",
    "full": "its log is full, so what is missing from it may have gone before its time",
    "other_time": "by its clock it is another time than here, so what has expired cannot be told; set your clock right",
    "unlisted": "entries in its log were never shown to this device: another device read them, or they expired",
    "no_log": "it says that it has no log: its software is older, or it will not be checked",
    "no_inbox": "it has no inbox of yours: if you did not delete it, its operator did, or has lost it; publish again",
    "unreachable": "it could not be asked",
    "no_checkpoint": "the checkpoint in your bucket, up to which the logs were checked before, cannot be used",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """`inbox` is the server's origin, or empty. `entry` is the `id` that it is about, `sender` who sent it.

    `evidence` is a document for somebody else, who can check it offline (evidence.py).
    """

    code: str
    inbox: str
    says: str
    entry: str = ""
    sender: str = ""
    evidence: Mapping[str, Any] | None = field(default=None, compare=False)

    @property
    def is_accusation(self) -> bool:
        """Whether it says that the server hides or has changed something; otherwise something cannot be checked."""
        return self.code in ACCUSES


def finding(code: str, inbox: str, more: str = "", *, entry: str = "", sender: str = "") -> Finding:
    words = ACCUSES.get(code) or CANNOT_CHECK[code]
    return Finding(code, inbox, f"{words}: {more}" if more else words, entry, sender)
