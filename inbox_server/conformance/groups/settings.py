"""Group `settings`: claiming an inbox, changing it, and deleting it."""

import json
from typing import Any, Final

from inbox_server.conformance.bench import Bench, id_of
from inbox_server.conformance.cases import Failed, Group, NotRun
from inbox_server.conformance.inboxes import Inbox
from inbox_server.conformance.replies import Reply

GROUP: Final = Group("settings", "put-v1inbox-claim-and-change-settings")
_SHOWN: Final = "get-v1inbox"
_COUNTS: Final = ("retention", "contacts", "blocked", "names", "unread", "read", "push")
_QUOTA: Final = ("entries", "bytes", "bytes_used", "read_entries")
_REFUSED: Final[tuple[dict[str, Any], ...]] = (
    {"retention": 3599},
    {"retention": "86400"},
    {"retention": 86400.5},
    {"retention": True},
    {"retention": None},
    {"accept": "everyone"},
    {"accept": ""},
    {"accept": None},
    {"accept": ["anyone"]},
    {"contacts": "x"},
    {"contacts": ["x"]},
    {"contacts": [1]},
    {"contacts": None},
    {"blocked": ["alice.id"]},
    {"blocked": {}},
    {"names": ["Alice.id"]},
    {"names": [1]},
    {"names": [f"n{number}.id" for number in range(6)]},
    {"invite": 1},
)


@GROUP.required("201 when the inbox is new, else 200; the body is the same as that of `GET`.")
async def a_change_is_answered_as_a_get(inbox: Inbox) -> None:
    """A change is answered 200, with the same members as `GET /v1/inbox`, each of its kind."""
    changed, shown = (await inbox.put({"accept": "contacts"})).expect(200), (await inbox.get()).expect(200)
    if changed.members != shown.members:
        raise Failed("the answer to a change is another document than that of GET")
    for member in _COUNTS:
        shown.number(member)
    quota, notices = shown.members.get("quota"), shown.members.get("notices")
    if not isinstance(quota, dict) or any(type(quota.get(member)) is not int for member in _QUOTA):
        raise Failed(f"`quota` does not have {', '.join(_QUOTA)}")
    if shown.text("accept") != "contacts" or notices != []:
        raise Failed("`accept` is not what was set, or `notices` is not an empty list")


@GROUP.required("A member that is left out leaves its setting as it is.", "An empty body counts as `{}`.")
async def what_is_left_out_stays(bench: Bench, inbox: Inbox) -> None:
    """What is left out of a change stays as it is, and an empty body changes nothing."""
    lists = {"contacts": [bench.key().address], "blocked": [bench.key().address, bench.key().address]}
    before = await inbox.set(retention=7200, accept="contacts", **lists)
    await inbox.set()
    (await inbox.ask("PUT", "/v1/inbox", "settings")).expect(200, why="with an empty body")
    _check_same(before, (await inbox.get()).expect(200), "after a change of nothing")
    after = await inbox.set(accept="anyone")
    if after.number("retention") != 7200 or (after.number("contacts"), after.number("blocked")) != (1, 2):
        raise Failed("a change of `accept` changed other settings")


def _check_same(one: Reply, other: Reply, when: str) -> None:
    if one.members != other.members:
        raise Failed(f"the settings are others {when}")


@GROUP.required("A list that is given replaces the old one; what is in it twice counts once.")
async def a_list_replaces_the_old_one(bench: Bench, inbox: Inbox) -> None:
    """A list that is given replaces the old one, and an empty list clears it."""
    one, two = bench.somebody(), bench.somebody()
    await inbox.set(accept="contacts", contacts=[one.key.address])
    if (await inbox.set(contacts=[two.key.address, two.key.address])).number("contacts") != 1:
        raise Failed("a list of one address, twice, does not count as one")
    (await inbox.deliver(bench.text(), sender=two)).expect(201, why="by a contact")
    (await inbox.deliver(bench.text(), sender=one)).refused("not_accepted", why="by one who is no contact any more")
    if (await inbox.set(contacts=[])).number("contacts") != 0:
        raise Failed("an empty list does not clear the list")


@GROUP.required("A new `retention` is for deliveries that come after it.")
async def a_new_retention_is_for_later_deliveries(bench: Bench, inbox: Inbox) -> None:
    """A shorter retention leaves what is there its life, and gives what comes after it the shorter one."""
    expires = (await inbox.deliver(bench.text())).expect(201).number("expires")
    await inbox.set(retention=3600)
    later = (await inbox.deliver(bench.text())).expect(201).number("expires")
    if [entry.expires for entry in (await inbox.page()).messages] != [expires, later] or later >= expires:
        raise Failed("a new retention changed the life of what was there, or not that of what came later")


@GROUP.required("from 3,600 to the server's maximum")
async def settings_out_of_range_are_refused(bench: Bench, inbox: Inbox) -> None:
    """Settings that are out of range or of another kind are a `bad_request`, and change nothing."""
    before = (await inbox.get()).expect(200)
    longest = bench.limit("max_retention_seconds")
    for settings in (*_REFUSED, {"retention": longest + 1}, {"accept": "nobody", "retention": 1}):
        (await inbox.put(settings)).refused("bad_request", why=f"with {json.dumps(settings):.40}")
    _check_same(before, (await inbox.get()).expect(200), "after changes that were refused")
    for retention in (3600, longest):
        if (await inbox.set(retention=retention)).number("retention") != retention:
            raise Failed(f"a retention of {retention} was not set")


@GROUP.required("`anyone` (any key)")
async def accept_says_who_may_deliver(bench: Bench, inbox: Inbox) -> None:
    """`anyone` takes every key, `contacts` those on the list, `names` no bare key, `nobody` no one."""
    contact, stranger = bench.somebody(), bench.somebody()
    await inbox.set(contacts=[contact.key.address])
    for accept, contact_may, stranger_may in (
        ("anyone", True, True),
        ("contacts", True, False),
        ("names", False, False),
        ("nobody", False, False),
    ):
        await inbox.set(accept=accept)
        for sender, may in ((contact, contact_may), (stranger, stranger_may)):
            _check_may(await inbox.deliver(bench.text(), sender=sender), may, f"by a key while `accept` is {accept}")


def _check_may(reply: Reply, may: bool, why: str) -> None:
    if may:
        reply.expect(201, why=why)
    else:
        reply.refused("not_accepted", why=why)


@GROUP.required("addresses that may not deliver, whatever `accept` says")
async def who_is_blocked_may_not_deliver(bench: Bench, inbox: Inbox) -> None:
    """A blocked address may not deliver, even if it is on the list of contacts too."""
    sender = bench.somebody()
    await inbox.set(blocked=[sender.key.address], contacts=[sender.key.address])
    for accept in ("anyone", "contacts"):
        await inbox.set(accept=accept)
        (await inbox.deliver(bench.text(), sender=sender)).refused("not_accepted", why="by a blocked key")
    await inbox.set(blocked=[])
    (await inbox.deliver(bench.text(), sender=sender)).expect(201, why="by a key that is blocked no more")


@GROUP.required("The owner's own key may always deliver, for the inbox's app.")
async def the_owner_may_always_deliver(bench: Bench, inbox: Inbox) -> None:
    """The owner's own key may deliver to an inbox that takes nobody's deliveries, even if it is blocked."""
    await inbox.set(accept="nobody", blocked=[inbox.address])
    text = bench.text()
    (await bench.deliver(inbox.owner.key.public, text, sender=bench.by_key(inbox.owner))).expect(
        201, why="by the owner"
    )
    if (await inbox.page()).ids != [id_of(text)]:
        raise Failed("the owner's own delivery is not listed")


@GROUP.required("A `settings` token that is older (has a smaller `iat`) than the last one used on the inbox is refused")
async def an_older_settings_token_is_stale(bench: Bench, inbox: Inbox) -> None:
    """A `settings` token cannot be used again after a later one: not to change settings, and not to delete."""
    first = await _later(bench, inbox)
    await inbox.set(accept="nobody")
    await _later(bench, inbox)
    await inbox.set(accept="contacts")
    (await inbox.put({"accept": "nobody"}, issued=first)).refused("stale_token", why="with a token from before another")
    (await inbox.put({}, issued=first)).refused("stale_token", why="with a token from before another")
    delete = bench.owner_token(inbox.owner, "settings", issued=first)
    (await bench.send("DELETE", "/v1/inbox", token=delete)).refused("stale_token", why="with an old token")
    if (await inbox.get()).expect(200).text("accept") != "contacts":
        raise Failed("a stale token changed the settings")


@GROUP.required("unless it comes with the same request again: the method and body of the last one.")
async def the_last_request_may_be_repeated(bench: Bench, inbox: Inbox) -> None:
    """The last change may be sent again, with the same token, by a client that got no answer."""
    issued, body = await _later(bench, inbox), b'{"accept":"contacts"}'
    token = bench.owner_token(inbox.owner, "settings", body, issued=issued)
    for _ in range(3):
        (await bench.send("PUT", "/v1/inbox", token=token, body=body)).expect(200)


async def _later(bench: Bench, inbox: Inbox) -> int:
    """The `iat` of the inbox's next settings tokens: later than all before."""
    inbox.settings_issued = max(inbox.settings_issued, bench.now() - 10) + 1
    if inbox.settings_issued > bench.now() + 50:
        await bench.until(inbox.settings_issued - 50)
    return inbox.settings_issued


@GROUP.required("204: the inbox and everything in it is gone, from disk too.", section="delete-v1inbox", uses_up=True)
async def deleting_leaves_nothing(bench: Bench, inbox: Inbox) -> None:
    """After DELETE the inbox is gone for its owner and for senders, and one that is claimed anew is empty."""
    text = bench.text()
    await inbox.received(text, bench.text())
    cursor, first = await inbox.cursor(), inbox.settings_issued or bench.now() - 1
    await inbox.set(contacts=[bench.key().address], retention=7200)
    for _ in range(2):
        (await inbox.delete()).expect(204, why="once and again")
    (await inbox.listed()).refused("no_inbox")
    (await inbox.get()).refused("no_inbox")
    (await inbox.deliver(text)).refused("not_accepted", why="to an inbox that was deleted")
    (await inbox.put({}, issued=first - 1)).refused("stale_token", why="with a token from before the DELETE")
    await _check_anew(inbox, cursor, text)


async def _check_anew(inbox: Inbox, cursor: str, text: str) -> None:
    anew = await _claim_anew(inbox)
    if anew.number("retention") == 7200 or (anew.number("contacts"), anew.number("unread")) != (0, 0):
        raise Failed("an inbox that was claimed anew has settings or entries of the old one")
    (await inbox.listed(after=cursor)).refused("cursor_gone", why="after a cursor from before it was claimed anew")
    if (await inbox.page()).ids:
        raise Failed("an inbox that was claimed anew has entries of the old one")
    (await inbox.deliver(text)).expect(201, why="what the old one had")


@GROUP.required("A claim is for the `app` of its token. A later `PUT` with another `app` is `bad_token`.")
async def an_inbox_keeps_its_app(inbox: Inbox) -> None:
    """A change with a token of another `app` is `bad_token`, and changes nothing."""
    reply = await inbox.put({"accept": "nobody"}, app="https://other.example")
    reply.refused("bad_token", why="with another app")
    if (await inbox.get()).expect(200).text("accept") != "anyone":
        raise Failed("a change that was refused changed something")


@GROUP.required("Send a `settings` token and an empty body.", section="delete-v1inbox")
async def a_delete_has_no_body(inbox: Inbox) -> None:
    """A DELETE with a body is a `bad_request`, and deletes nothing."""
    reply = await inbox.ask("DELETE", "/v1/inbox", "settings", b"{}")
    reply.refused("bad_request", why="with a body")
    (await inbox.get()).expect(200, why="after a DELETE that was refused")


@GROUP.required("the inbox was claimed anew or restored", section="get-v1messages-list-or-follow", uses_up=True)
async def a_cursor_from_before_a_claim_is_gone(bench: Bench, inbox: Inbox) -> None:
    """A cursor from before an inbox was deleted is gone when it is claimed anew, however much it has got since then."""
    cursors = []
    for deliveries in (1, 3):
        (await inbox.delete()).expect(204)
        await _claim_anew(inbox)
        await inbox.received(*(bench.text() for _ in range(deliveries)))
        cursors.append(await inbox.cursor())
    (await inbox.listed(after=cursors[0])).refused("cursor_gone", why="after a cursor from before it was claimed anew")
    (await inbox.listed(after=cursors[1])).expect(200, why="after a cursor of its own")


async def _claim_anew(inbox: Inbox) -> Reply:
    """Raises `NotRun` if the server lets nobody."""
    anew = await inbox.put({"accept": "anyone"} | inbox.admission)
    if anew.code in ("not_registered", "too_many"):
        raise NotRun(f"an inbox that was deleted cannot be claimed again here: {anew.told}")
    return anew.expect(201, why="claiming anew")


@GROUP.required("default_retention", section="limits", uses_up=True)
async def an_inbox_is_as_the_page_says_at_first(bench: Bench, inbox: Inbox) -> None:
    """A new inbox takes deliveries from `names`, keeps entries for the server's default, and has no lists."""
    (await inbox.delete()).expect(204)
    claimed = await inbox.put(inbox.admission)
    if claimed.code in ("not_registered", "too_many"):
        raise NotRun(f"an inbox that was deleted cannot be claimed again here: {claimed.told}")
    claimed.expect(201)
    if claimed.text("accept") != "names":
        raise Failed(f"`accept` is {claimed.text('accept')} at first, not names")
    if claimed.number("retention") != bench.limit("default_retention_seconds"):
        raise Failed(f"`retention` is {claimed.number('retention')} at first, not the server's default")
    if (claimed.number("contacts"), claimed.number("blocked")) != (0, 0):
        raise Failed("a new inbox has a list")


@GROUP.required("`listed` accepts the identities in the operator's configuration")
async def registration_is_what_the_document_says(bench: Bench) -> None:
    """A server that takes only listed identities, or invites, claims no inbox for a new key: `not_registered`."""
    mode = bench.document.get("registration")
    if mode not in ("listed", "invite", "open"):
        raise Failed("`registration` is none of listed, invite, open")
    if mode == "open":
        return
    stranger = Inbox(bench, bench.somebody())
    for settings in ({}, {"invite": "an-invite-that-nobody-made"}):
        reply = await stranger.put(settings)
        if reply.status in (200, 201):
            await stranger.delete()
        reply.refused("not_registered", why="claiming with a new key")


@GROUP.required("A claim that succeeded succeeds again, even with an invite that it has used up")
async def a_claim_may_be_repeated(inbox: Inbox) -> None:
    """The claim of an inbox may be repeated, with the invite that it has used up too."""
    (await inbox.put({"accept": "anyone"} | inbox.admission)).expect(200, why="a claim again")
