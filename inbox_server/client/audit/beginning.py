"""Where the log of an inbox begins for its owner: a claim that makes the inbox anew makes another log."""

import contextlib
from functools import partial
from typing import Final

from inbox_server.client.account import Account
from inbox_server.client.audit.checkpoint import Checkpoint, SharedCheckpoints
from inbox_server.client.audit.log_check import LogAnswer, LogFault, Owner, check_log
from inbox_server.client.bucket import BucketFailed
from inbox_server.client.inbox_api import Inbox
from inbox_server.client.own_file import BadOwnFile
from inbox_server.client.pages import page_of
from inbox_server.client.refusals import InboxRefused, Unreachable
from inbox_server.client.remembered import Audited, Remembered
from inbox_server.clock import DAY_SECONDS, UnixTime
from inbox_server.protocol.base64url import encode

NONCE_BYTES: Final = 16


class Beginnings:
    """What cannot be shared with other devices now is made good by the next audit."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._checkpoints = SharedCheckpoints(account.user)

    def note(self, inbox: Inbox) -> None:
        """The inbox is about to be claimed anew: nothing that was seen of it before is held against its log."""
        self._remember(partial(Remembered.with_begun, inbox=inbox.url, since=inbox.now))

    async def begin(self, inbox: Inbox) -> bool:
        """The inbox was made: its log is checked from here on, by all devices.

        Returns whether there was another one here that no device has deleted.
        """
        is_again = False
        with contextlib.suppress(InboxRefused, Unreachable, BucketFailed, LogFault):
            offers = await self._account.offers(inbox)
            if not offers.has_log or offers.key is None:
                return is_again
            page = await page_of(inbox, None)
            nonce = encode(self._account.user.random_bytes(NONCE_BYTES))
            answer = LogAnswer(nonce, await inbox.log(None, nonce, 1000))
            log = check_log([answer], Owner(inbox.url, (offers.key,), self._account.user.key.address))
            with contextlib.suppress(BadOwnFile):
                is_again = inbox.url in await self._checkpoints.read()
            # Receipts have only days. If there was a log before this one, what is of today may be its.
            since = UnixTime(log.at // DAY_SECONDS * DAY_SECONDS - 1) if self._checkpoints.is_new else log.at
            point = Checkpoint(log.head.n, log.head.head, log.at, since, log.signed, offers.retention)
            audited = Audited(log.head.n, log.at, self._account.user.clock(), page.cursor, since)
            self._remember(partial(Remembered.with_begun, inbox=inbox.url, since=since))
            self._remember(partial(Remembered.with_audited, inbox=inbox.url, audited=audited, left={}))
            day = log.at // DAY_SECONDS
            self._account.profile.change(lambda profile: profile.with_mark(inbox.url, day, page.cursor))
            await self._checkpoints.write({inbox.url: point})
        return is_again

    async def end(self, inboxes: tuple[str, ...]) -> None:
        """These are about to be deleted. Raises `BucketFailed`: other devices would take their next logs for forged."""
        await self._checkpoints.write(dict.fromkeys(inboxes))

    def _remember(self, change: "partial[Remembered]") -> None:
        self._account.profile.change(lambda profile: profile.with_remembered(change))
