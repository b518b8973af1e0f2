"""Group `deliver`: what a delivery stores, how long it lives, and that repeating it is safe."""

import json
from typing import Any, Final

from inbox_server.conformance.bench import Bench, id_of
from inbox_server.conformance.cases import Failed, Group
from inbox_server.conformance.inboxes import Inbox
from inbox_server.conformance.together import together

GROUP: Final = Group("deliver", "post-v1messages-deliver")
DAY_SECONDS: Final = 86_400
_PRINTABLE: Final = "".join(map(chr, range(0x20, 0x7F)))


@GROUP.required('201 `{"id", "expires"}`: the delivery is on disk, in this recipient\'s inbox.')
async def a_delivery_is_listed(bench: Bench, inbox: Inbox) -> None:
    """A delivery is answered 201, and is in the recipient's list at once, unchanged."""
    text = bench.text()
    reply = (await inbox.deliver(text)).expect(201)
    page = await inbox.page()
    if [entry.message_id for entry in page.messages] != [text]:
        raise Failed(f"{len(page.messages)} entries are listed, not the one that was delivered as it was")
    if page.messages[0].expires != reply.number("expires"):
        raise Failed("the list tells another `expires` than the answer to the delivery")


@GROUP.required("`id` is base64url(SHA-256(message_id)), and is the same on every server.")
async def the_id_is_the_hash(bench: Bench, inbox: Inbox) -> None:
    """The `id` of an entry is base64url(SHA-256(message_id))."""
    text = bench.text()
    reply = (await inbox.deliver(text)).expect(201)
    if reply.text("id") != id_of(text) or (await inbox.page()).ids != [id_of(text)]:
        raise Failed("the id is not the hash of the message ID")


@GROUP.required("`message_id` is 1 to 1,024 printable ASCII characters (space to `~`), which the server never parses.")
async def a_message_id_is_kept_as_it_is(bench: Bench, inbox: Inbox) -> None:
    """A message ID of 1 and of 1,024 characters, and of every printable one, is listed as it came."""
    texts = [bench.text(1), bench.text(1024), f"{_PRINTABLE}{bench.text(8)}", f'{{"a": "{bench.text(8)}"}}', "  "]
    await inbox.received(*texts)
    if [entry.message_id for entry in (await inbox.page()).messages] != texts:
        raise Failed("a message ID came back changed, or in another order")


@GROUP.required("`message_id` is 1 to 1,024 printable ASCII characters (space to `~`), which the server never parses.")
async def a_message_id_of_another_kind_is_refused(bench: Bench, inbox: Inbox) -> None:
    """A message ID that is empty, too long, not printable ASCII or no string is a `bad_request`; nothing is stored."""
    for wrong in ("", bench.text(1025), "é", "a\n", "a\t", "\x7f", "\x00", 1, None, True, ["a"], {"a": 1}):
        reply = await _deliver(inbox, {"message_id": wrong})
        reply.refused("bad_request", why=f"with the message ID {wrong!r:.20}")
    (await _deliver(inbox, {})).refused("bad_request", why="without a message ID")
    if (await inbox.page()).messages:
        raise Failed("a delivery that was refused is listed")


@GROUP.required("`ttl` is in seconds and at least 10; there is no maximum. It MAY be left out.")
async def a_ttl_is_a_whole_number_from_ten(bench: Bench, inbox: Inbox) -> None:
    """A `ttl` of less than 10 seconds, or that is no integer, is a `bad_request`; 10 is taken."""
    for wrong in (9, 0, -1, "3600", 3600.5, True, None, [3600]):
        reply = await _deliver(inbox, {"message_id": bench.text(), "ttl": wrong})
        reply.refused("bad_request", why=f"with the ttl {wrong!r}")
    (await inbox.deliver(bench.text(), ttl=10)).expect(201, why="with a ttl of 10")
    if len((await inbox.page()).messages) > 1:
        raise Failed("a delivery that was refused is listed")


async def _deliver(inbox: Inbox, members: dict[str, Any]) -> Any:
    bench, body = inbox.bench, json.dumps(members).encode()
    token = bench.deliver_token(bench.somebody(), inbox.address, body)
    return await bench.send("POST", "/v1/messages", token=token, body=body)


@GROUP.required("after the shorter of `ttl` and the owner's retention, counted from the token's `iat`")
async def a_short_life_counts_from_iat(bench: Bench, inbox: Inbox) -> None:
    """`expires` is `iat` plus `ttl`, to the second, when that is less than a day."""
    issued = bench.now() - 100
    for ttl in (3600, DAY_SECONDS - 1):
        reply = (await inbox.deliver(bench.text(), ttl=ttl, issued=issued)).expect(201)
        _check_expires(reply.number("expires"), issued + ttl, f"with a ttl of {ttl}")


@GROUP.required("after the shorter of `ttl` and the owner's retention, counted from the token's `iat`")
async def the_retention_is_the_longest_life(bench: Bench, inbox: Inbox) -> None:
    """Without a `ttl`, and with a longer one, an entry lives as long as the owner's retention."""
    await inbox.set(retention=3600)
    issued = bench.now()
    for ttl in (None, 7200, 100 * DAY_SECONDS):
        reply = (await inbox.deliver(bench.text(), ttl=ttl, issued=issued)).expect(201)
        _check_expires(reply.number("expires"), issued + 3600, f"with a retention of 3600 and a ttl of {ttl}")


def _check_expires(expires: int, expected: int, why: str) -> None:
    if expires != expected:
        raise Failed(f"`expires` is {expires - expected:+} s off, {why}")


@GROUP.required("A life of a day or more lasts to the last second of its UTC day.")
async def a_long_life_lasts_to_the_end_of_its_day(bench: Bench, inbox: Inbox) -> None:
    """A life of a day or more ends at the last second of a UTC day, and so does not tell the hour of the delivery."""
    for life in (DAY_SECONDS, DAY_SECONDS + 7201):
        issued = bench.now()
        expires = (await inbox.deliver(bench.text(), ttl=life, issued=issued)).expect(201).number("expires")
        end = (issued + life) // DAY_SECONDS * DAY_SECONDS + DAY_SECONDS - 1
        if expires != end:
            raise Failed(f"`expires` is {expires - end:+} s from the last second of the day, with a ttl of {life}")


@GROUP.required("When nothing is left, the delivery is refused as `ttl_passed`")
async def a_life_that_is_over_is_refused(bench: Bench, inbox: Inbox) -> None:
    """A delivery whose `ttl` is over is `ttl_passed`, and nothing is stored; signed again, it is a new entry."""
    text = bench.text()
    for ago in (12, 200):
        reply = await inbox.deliver(text, ttl=10, issued=bench.now() - ago)
        reply.refused("ttl_passed", why=f"with a ttl of 10 and an iat {ago} s ago")
    if (await inbox.page()).messages:
        raise Failed("a delivery that was refused is listed")
    (await inbox.deliver(text, ttl=10)).expect(201, why="signed again")


@GROUP.required("`expires` is when the entry expires if nobody reads it", "At `expires` the entry is gone.")
async def what_has_expired_is_not_listed(bench: Bench, inbox: Inbox) -> None:
    """An entry is listed until it expires, and not after that: not in a list, and not after a cursor."""
    before, issued = await inbox.cursor(), bench.now() - 2
    (id,) = await inbox.received(bench.text(), ttl=10, issued=issued)
    if (await inbox.page()).ids != [id] and await bench.second() < issued + 10:
        raise Failed("an entry that lives is not listed")
    await bench.until(issued + 11)
    page, news = await inbox.page(), await inbox.page(after=before)
    if page.ids or news.ids:
        raise Failed("an entry that has expired is listed")
    if id in (news.read or ()):
        raise Failed("an entry that expired is told as read")


@GROUP.required("the answer is 200 with the same `id`")
async def a_repeat_makes_no_second_entry(bench: Bench, inbox: Inbox) -> None:
    """The same message ID again, by whomever, is answered 200 with the same `id`, and is listed once."""
    text, sender = bench.text(), bench.somebody()
    (await inbox.deliver(text, sender=sender)).expect(201)
    for again in (sender, bench.somebody()):
        if (await inbox.deliver(text, sender=again)).expect(200, why="a repeat").text("id") != id_of(text):
            raise Failed("a repeat is answered with another id")
    if (await inbox.page()).ids != [id_of(text)]:
        raise Failed("a repeat made another entry")


@GROUP.required("Delivering the same `message_id` again is the same as delivering it once")
async def repeats_at_once_make_one_entry(bench: Bench, inbox: Inbox) -> None:
    """The same delivery ten times at once is one entry."""
    text, before = bench.text(), await inbox.cursor()
    replies = await together(*(inbox.deliver(text) for _ in range(10)))
    for reply in replies:
        reply.expect(200, 201)
    ids = [id for page in await inbox.pages(after=before) for id in page.ids]
    if (await inbox.page()).ids != [id_of(text)] or ids != [id_of(text)]:
        raise Failed("a delivery that was repeated at once is listed more than once")
    if sum(reply.status == 201 for reply in replies) != 1:
        raise Failed("more than one of ten equal deliveries is answered 201, or none")


@GROUP.required("A repeat may lengthen the life and never shortens it.")
async def a_repeat_never_shortens_the_life(bench: Bench, inbox: Inbox) -> None:
    """A repeat with a shorter `ttl` leaves the entry its longer life, in the answer and in the list."""
    text = bench.text()
    expires = (await inbox.deliver(text, ttl=7200)).expect(201).number("expires")
    for ttl in (3600, 10):
        reply = (await inbox.deliver(text, ttl=ttl)).expect(200)
        if reply.number("expires") < expires:
            raise Failed("the answer to a repeat with a shorter ttl tells a shorter life")
        if [entry.expires for entry in (await inbox.page()).messages] < [expires]:
            raise Failed("a repeat with a shorter ttl shortened the life of the entry")


@GROUP.recommended("A repeat may lengthen the life and never shortens it.")
async def a_repeat_lengthens_the_life(bench: Bench, inbox: Inbox) -> None:
    """A repeat with a longer `ttl` gives the entry the longer life."""
    text = bench.text()
    expires = (await inbox.deliver(text, ttl=3600)).expect(201).number("expires")
    if (await inbox.deliver(text, ttl=7200)).expect(200).number("expires") < expires + 3600:
        raise Failed("a repeat with a longer ttl did not lengthen the life")


@GROUP.required("The answer does not tell whether the entry was read")
async def a_repeat_does_not_tell_what_was_read(bench: Bench, inbox: Inbox) -> None:
    """A repeat is answered in the same way, byte for byte, before and after the entry was read."""
    text, how = bench.text(), {"sender": bench.somebody(), "issued": bench.now()}
    (await inbox.deliver(text, ttl=3600, **how)).expect(201)
    unread = (await inbox.deliver(text, ttl=600, **how)).expect(200)
    (await inbox.ack(id_of(text))).expect(204)
    for ttl in (600, 600, 3600):
        read = (await inbox.deliver(text, ttl=ttl, **how)).expect(200, why="a repeat after it was read")
        if read.answer.body != unread.answer.body:
            raise Failed("the answer to a repeat is another one after the entry was read")


@GROUP.required("and once that has passed, or if the `id` was acknowledged before anything was delivered")
async def a_repeat_after_its_life_does_not_tell_what_was_read(bench: Bench, inbox: Inbox) -> None:
    """When the life of two entries is over, and one of them was read, repeats of both are answered alike."""
    issued, texts = bench.now() - 2, (bench.text(), bench.text())
    read, _ = await inbox.received(*texts, ttl=10, issued=issued)
    (await inbox.ack(read)).expect(204)
    await bench.until(issued + 13)
    one, other = [(await inbox.deliver(text, ttl=3600)).expect(200, 201) for text in texts]
    if one.status != other.status:
        raise Failed(f"a repeat after its life is answered {one.status} if the entry was read, else {other.status}")
    one.expect(201, why="a repeat after its life")
    if (await inbox.page()).ids != [id_of(texts[1])]:
        raise Failed("the list does not have just the entry that was not read")


@GROUP.required("even after it was read, for as long as the server remembers it")
async def a_repeat_of_what_was_read_is_not_listed(bench: Bench, inbox: Inbox) -> None:
    """What is delivered again after it was read is not listed again, even with a longer life."""
    before, text = await inbox.cursor(), bench.text()
    await inbox.received(text, ttl=3600)
    (await inbox.ack(id_of(text))).expect(204)
    (await inbox.deliver(text, ttl=7200)).expect(200, why="a repeat after it was read")
    news = [id for page in await inbox.pages(after=before) for id in page.ids]
    if (await inbox.page()).ids or news:
        raise Failed("what was read is listed again after a repeat")


@GROUP.required("A recipient is a name, a key or an address.", section="who-is-who")
async def a_key_and_its_address_are_one_recipient(bench: Bench, inbox: Inbox) -> None:
    """A delivery to the owner's key and one to its address reach the same inbox."""
    texts = [bench.text(), bench.text()]
    (await bench.deliver(inbox.owner.key.public, texts[0])).expect(201, why="to a key")
    (await bench.deliver(inbox.address, texts[1])).expect(201, why="to an address")
    if [entry.message_id for entry in (await inbox.page()).messages] != texts:
        raise Failed("the inbox does not have both")
