"""The card in the own bucket. Another device with the same key may have written it after this one."""

from dataclasses import replace
from functools import partial

from inbox_server.client.account import Account
from inbox_server.client.bucket import BucketFailed
from inbox_server.client.profile_file import Profile
from inbox_server.client.remembered import Remembered
from inbox_server.client.tokens_and_cards import CARD_FILE, NO_CARD, BadCard, Card, read_card


class OwnCardUnreadable(BucketFailed):
    """Senders cannot read the published card; the message says why and what to do."""


async def published_card(account: Account) -> Card | None:
    """The published card, even if it has expired; None if there is none or it was withdrawn.

    Raises `BucketFailed`, or its subclass `OwnCardUnreadable` if the file is not a valid card.
    """
    body = await account.user.published_card()
    if body is None or body.strip() == NO_CARD:
        return None
    try:
        return read_card(body, address=account.user.key.address, now=None)
    except BadCard as error:
        where = account.user.bucket.url + CARD_FILE
        raise OwnCardUnreadable(f"your own inbox card {error} ({where}); publish writes it again") from None


async def catch_up(account: Account) -> tuple[str, ...]:
    """Take over the inboxes of a card that is newer than the profile; returns them, or () if nothing changed.

    Acknowledgements that are still pending go to the new inboxes: an entry has the same `id` everywhere. A move that is
    under way here stays as it is. Raises `BucketFailed`.
    """
    card = await published_card(account)
    before = account.profile.read()
    if card is None or before.move or card.seq <= before.seq:
        return ()

    def follow(profile: Profile) -> Profile:
        unheard = tuple(dict.fromkeys(id for ids in profile.to_ack.values() for id in ids))
        followed = replace(profile, inboxes=card.inboxes, seq=max(profile.seq, card.seq)).with_to_ack(unheard)
        for url in card.inboxes:
            if key := card.receipt_key(url):
                followed = followed.with_remembered(partial(Remembered.with_receipt_key, inbox=url, key=key))
        for url in set(profile.inboxes) - set(card.inboxes):
            followed = followed.without_inbox(url)
        return followed

    account.profile.change(follow)
    return card.inboxes if set(card.inboxes) != set(before.inboxes) else ()
