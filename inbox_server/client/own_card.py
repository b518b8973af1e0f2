"""The card in the own bucket, which another device with the same key may have written after this one."""

from dataclasses import replace

from inbox_server.client.account import Account
from inbox_server.client.profile_file import Profile
from inbox_server.client.tokens_and_cards import CARD_FILE, BadCard, Card, read_card


async def published_card(account: Account) -> Card | None:
    """The card that is published, whether or not its time has passed. Raises `BucketFailed`."""
    body = await account.user.bucket.read(CARD_FILE)
    try:
        return read_card(body or b"", address=account.user.key.address, now=None)
    except BadCard:
        return None


async def catch_up(account: Account) -> tuple[str, ...]:
    """Take the inboxes of a card over that is newer than the profile; them, or () when nothing is different.

    What was read and not told yet is told to the new ones: an entry has the same `id` everywhere. A move that is under
    way here stays as it is. Raises `BucketFailed`.
    """
    card = await published_card(account)
    before = account.profile.read()
    if card is None or before.move or card.seq <= before.seq:
        return ()

    def follow(profile: Profile) -> Profile:
        unheard = tuple(dict.fromkeys(id for ids in profile.to_ack.values() for id in ids))
        followed = replace(profile, inboxes=card.inboxes, seq=max(profile.seq, card.seq)).with_to_ack(unheard)
        for url in set(profile.inboxes) - set(card.inboxes):
            followed = followed.without_inbox(url)
        return followed

    account.profile.change(follow)
    return card.inboxes if set(card.inboxes) != set(before.inboxes) else ()
