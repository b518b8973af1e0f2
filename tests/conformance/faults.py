"""Servers with a fault each: the second server (examples/second-server), changed in a line or two.

The suite must find each by the case that is for it. A fault of a server somewhere that the suite did not find belongs here.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.second_server import FOLDER


@dataclass(frozen=True, slots=True)
class Change:
    """In this file, the first of these texts becomes the other."""

    file: str
    old: str
    new: str


class Fault:
    """What a server does wrong, the case that must fail, and how it is made so."""

    def __init__(self, says: str, case: str, *changes: Change, seen_in: str = "") -> None:
        """`seen_in` is a group to run too, for a case that looks at the answers of the whole run."""
        self.says = says
        self.case = case
        self.cases = [seen_in, case] if seen_in else [case]
        self._changes = changes

    def server(self, folder: Path) -> Path:
        """A copy of the second server with this fault."""
        made = shutil.copytree(FOLDER, folder / "server")
        for change in self._changes:
            path = made / change.file
            text = path.read_text()
            assert change.old in text, f"{change.file} has changed: {change.old}"
            path.write_text(text.replace(change.old, change.new, 1))
        return made


FAULTS: Final = (
    Fault(
        "takes a token for another server",
        "tokens/audience",
        Change("tokens.mjs", "aud: value => value === audience", "aud: value => typeof value === 'string'"),
    ),
    Fault(
        "takes an audience that only begins with its URL",
        "tokens/audience",
        Change(
            "tokens.mjs",
            "aud: value => value === audience",
            "aud: value => typeof value === 'string' && value.startsWith(audience)",
        ),
    ),
    Fault(
        "takes a token from 61 seconds ahead",
        "tokens/times",
        Change("tokens.mjs", "iat > now + LIMITS.clock_skew_seconds", "iat > now + LIMITS.clock_skew_seconds + 1"),
    ),
    Fault(
        "does not compare the digest with the body",
        "tokens/digest",
        Change(
            "tokens.mjs",
            "...(scope !== 'read' && { digest: value => value === createHash('sha256').update(body).digest('base64url') })",
            "...(scope !== 'read' && { digest: value => typeof value === 'string' })",
        ),
    ),
    Fault(
        "takes a token of another scope",
        "tokens/scope",
        Change(
            "tokens.mjs", "scope: value => value === scope", "scope: value => ['read','ack','settings'].includes(value)"
        ),
    ),
    Fault(
        "takes base64url that is not canonical",
        "tokens/signature",
        Change("tokens.mjs", "if (!text || bytes.toString('base64url') !== text) bad", "if (!text) bad"),
    ),
    Fault(
        "does not tell its time when a token has expired",
        "tokens/the-servers-time-is-told",
        Change("tokens.mjs", "'The token has expired.', { now })", "'The token has expired.')"),
    ),
    Fault(
        "answers a repeat like a new delivery",
        "deliver/a-repeat-makes-no-second-entry",
        Change(
            "routes.mjs", "status: isNew ? 201 : 200, content: { id, expires }", "status: 201, content: { id, expires }"
        ),
    ),
    Fault(
        "lists again what was read, when it is repeated",
        "deliver/a-repeat-of-what-was-read-is-not-listed",
        Change(
            "store.mjs",
            "const isNew = !old || old.expires <= this.now()",
            "const isNew = !old || old.text === null || old.expires <= this.now()",
        ),
    ),
    Fault(
        "shortens a life when a repeat asks for less",
        "deliver/a-repeat-never-shortens-the-life",
        Change(
            "store.mjs", "const longer = isNew ? expires : Math.max(expires, old.expires)", "const longer = expires"
        ),
    ),
    Fault(
        "lists what has expired",
        "deliver/what-has-expired-is-not-listed",
        Change(
            "store.mjs",
            "WHERE inbox = ? AND seq > ? AND until > ? AND (text",
            "WHERE inbox = ? AND seq > ? AND until > ? - 1000 AND (text",
        ),
    ),
    Fault(
        "forgets what was read as soon as its life is over",
        "ack/what-was-read-is-remembered-for-longer-than-it-lives",
        Change("store.mjs", "Math.max(expires, now + HOUR)", "expires"),
    ),
    Fault(
        "lets the blocked deliver",
        "settings/who-is-blocked-may-not-deliver",
        Change(
            "store.mjs",
            "if (isListed('blocked')) return false",
            "if (isListed('blocked') && box.accept !== 'contacts') return false",
        ),
    ),
    Fault(
        "drops the oldest entry when the inbox is full",
        "limits/a-full-inbox-refuses-and-keeps-what-it-has",
        Change(
            "store.mjs",
            "    if (!has) this.#run('UPDATE inboxes SET was_full = 1 WHERE inbox = ?', inbox)\n    return has",
            "    if (!has) { this.#run('DELETE FROM entries WHERE inbox = ? AND bytes > 0 AND seq = (SELECT min(seq) FROM entries WHERE inbox = ? AND bytes > 0)', inbox, inbox) }\n    return true",
        ),
    ),
    Fault(
        "does not tell the owner that the inbox was full",
        "limits/a-full-inbox-refuses-and-keeps-what-it-has",
        Change("store.mjs", "...(box.was_full && { notices: ['inbox_full'] }),", ""),
    ),
    Fault(
        "leaves the ids that were read out of the feed",
        "list/a-cursor-tells-what-arrived-and-what-was-read",
        Change("store.mjs", "rows.filter(row => row.text === null).map(row => row.id)", "[]"),
    ),
    Fault(
        "puts the cursor after a page one entry too far",
        "list/pages-join-without-a-gap",
        Change(
            "store.mjs",
            "const last = more ? rows.at(-1).seq : box.seq",
            "const last = more ? rows.at(-1).seq + 1 : box.seq",
        ),
    ),
    Fault(
        "takes a cursor from before what it has forgotten",
        "limits/a-cursor-from-before-what-was-forgotten-is-gone",
        Change("store.mjs", "return isOurs && since >= box.forgotten ?", "return isOurs ?"),
    ),
    Fault(
        "lets an old settings token be replayed",
        "settings/an-older-settings-token-is-stale",
        Change("store.mjs", "if (last && iat < last.iat && request !== last.request) refuse('stale_token')", ""),
    ),
    Fault(
        "lets another app take the inbox over",
        "settings/an-inbox-keeps-its-app",
        Change(
            "store.mjs",
            "if (box && box.app !== app) refuse('bad_token', 'The inbox was claimed for another app.', { member: 'app' })",
            "",
        ),
    ),
    Fault(
        "adds to a list instead of replacing it",
        "settings/a-list-replaces-the-old-one",
        Change("store.mjs", "    this.#run('DELETE FROM lists WHERE inbox = ? AND list = ?', inbox, list)\n", ""),
    ),
    Fault(
        "counts an acknowledgement twice when it is repeated",
        "ack/a-repeat-changes-nothing",
        Change("store.mjs", "if (old?.text === null) continue // it was read already", ""),
    ),
    Fault(
        "refuses to acknowledge what it does not know",
        "ack/an-unknown-id-is-remembered",
        Change(
            "store.mjs",
            "        if (old) this.#run('UPDATE inboxes SET was_full = 0",
            "        if (!old) refuse('no_inbox')\n        if (old) this.#run('UPDATE inboxes SET was_full = 0",
        ),
    ),
    Fault(
        "begins a stream without the first state",
        "events/the-first-state-is-the-list",
        Change(
            "readers.mjs",
            "if (hasNews(page, told) || asked.after === null) await state(page)",
            "if (hasNews(page, told)) await state(page)",
        ),
    ),
    Fault(
        "sends events without their id",
        "events/the-id-of-a-state-is-its-cursor",
        Change("readers.mjs", "await send(`id: ${page.cursor}\\nevent", "await send(`event"),
    ),
    Fault(
        "ends a stream without saying when to come back",
        "events/retry-is-in-the-first-state-and-in-the-end",
        Change("readers.mjs", "event: end\\nretry: ${pause}\\n", "event: end\\n"),
    ),
    Fault(
        "lets one reader too many wait",
        "follow/one-reader-too-many-is-refused",
        Change("readers.mjs", "waiting.size >= LIMITS.waiting_readers", "waiting.size > LIMITS.waiting_readers"),
    ),
    Fault(
        "does not tell other devices of an acknowledgement",
        "follow/a-held-answer-comes-with-the-change",
        Change("routes.mjs", "    store.ack(inbox, ids)\n    readers.change(inbox)", "    store.ack(inbox, ids)"),
    ),
    Fault(
        "leaves Retry-After out",
        "errors/every-refusal-for-now-has-retry-after",
        Change("refusals.mjs", "if (retryAfter) headers", "if (retryAfter && code !== 'too_many') headers"),
        seen_in="follow",
    ),
    Fault(
        "answers 401 without WWW-Authenticate",
        "errors/every-401-has-www-authenticate",
        Change("refusals.mjs", "if (status === 401) headers['WWW-Authenticate'] = 'Bearer'", ""),
    ),
    Fault(
        "takes one byte too few of a body",
        "errors/a-body-is-taken-up-to-its-limit",
        Change("http.mjs", "'/v1/messages': 4096", "'/v1/messages': 4095"),
    ),
    Fault(
        "takes one byte too many of a body",
        "errors/a-body-is-taken-up-to-its-limit",
        Change("http.mjs", "'/v1/messages': 4096", "'/v1/messages': 4097"),
    ),
    Fault(
        "answers for any host",
        "errors/another-host-is-refused",
        Change("http.mjs", "if (!isOurs(raw.headers.host)) refuse('wrong_host')", ""),
    ),
    Fault(
        "leaves CORS out of refusals",
        "headers/every-answer-is-for-every-origin",
        Change(
            "http.mjs",
            "    const { status, headers, content } = await answer(raw, response).catch(error => asRefusal(error).answer)",
            "    const { status, headers, content } = await answer(raw, response).catch(error => asRefusal(error).answer)\n    if (status === 403) response.removeHeader('Access-Control-Allow-Origin')",
        ),
        seen_in="order",
    ),
    Fault(
        "tells by the bytes of a refusal whether an inbox exists",
        "order/every-no-is-the-same-answer",
        Change(
            "routes.mjs",
            "    if (!store.accepts(inbox, sender)) refuse('not_accepted')",
            "    if (!store.accepts(inbox, sender)) refuse('not_accepted', inbox && store.exists?.(inbox) ? 'x' : isName(sub) ? 'No such name.' : undefined)",
        ),
    ),
    Fault(
        "tells by its limits whether an inbox exists",
        "order/refusals-do-not-add-up",
        Change(
            "routes.mjs",
            "    if (!store.accepts(inbox, sender)) refuse('not_accepted')\n",
            "    count('sender', inbox + sender.address)\n    if (!store.accepts(inbox, sender)) refuse('not_accepted')\n",
        ),
    ),
    Fault(
        "checks the life before the owner's policy",
        "order/a-life-that-is-over-tells-nothing",
        Change(
            "routes.mjs",
            "    if (!store.accepts(inbox, sender)) refuse('not_accepted')",
            "    if ((ttl ?? 1000) + token.iat <= now()) refuse('ttl_passed')\n    if (!store.accepts(inbox, sender)) refuse('not_accepted')",
        ),
    ),
    Fault(
        "looks names up before the owner's policy",
        "order/the-policy-comes-before-the-names",
        Change(
            "routes.mjs",
            "    if (!store.accepts(inbox, sender)) refuse('not_accepted')\n    if (sender.hasName && token.signer) await names.prove(iss, app, address => address === sender.address)",
            "    if (sender.hasName && token.signer) await names.prove(iss, app, address => address === sender.address)\n    if (!store.accepts(inbox, sender)) refuse('not_accepted')",
        ),
    ),
    Fault(
        "does not look up who signed for a name",
        "names/a-name-with-another-key-is-unproven",
        Change("routes.mjs", "if (sender.hasName && token.signer) await", "if (false) await"),
    ),
    Fault(
        "takes a claim that is there twice",
        "tokens/claims",
        Change("json.mjs", "if (open.at(-1).has(last)) throw new Error(`has ${JSON.stringify(last)} twice`)", ""),
    ),
    Fault(
        "takes a time that is no integer",
        "tokens/times",
        Change(
            "json.mjs",
            "} else if (piece !== ',' && !/^-?\\d+$/.test(piece)) throw new Error('has a number that is not an integer')",
            "}",
        ),
    ),
    Fault(
        "ignores a member that it does not know",
        "features/an-unknown-member-is-refused",
        Change(
            "requests.mjs",
            "  need(Object.keys(body).every(name => members.includes(name)), 'body'",
            "  need(true, 'body'",
        ),
    ),
    Fault(
        "refuses a signature whose s is high",
        "tokens/good-tokens",
        Change(
            "keys.mjs",
            "  return verify(",
            "  if (signature[32] > 0x7f) return false\n  return verify(",
        ),
    ),
    Fault(
        "takes a signature in DER",
        "tokens/signature",
        Change("keys.mjs", "if (!key || signature.length !== 64) return false", "if (!key) return false"),
        Change("keys.mjs", "dsaEncoding: 'ieee-p1363'", "dsaEncoding: signature.length === 64 ? 'ieee-p1363' : 'der'"),
        Change("tokens.mjs", "signature.length !== 64 || (signer", "(signer"),
    ),
    Fault(
        "takes a cursor of another inbox",
        "list/a-cursor-of-another-inbox-is-refused",
        Change(
            "store.mjs",
            "bytes.toString('hex', 0, 8) === box.epoch && seq <= since && since <= box.seq",
            "seq <= since",
        ),
    ),
    Fault(
        "lists entries out of order",
        "list/entries-are-in-the-order-of-the-changes",
        Change(
            "store.mjs",
            "messages: rows.filter(row => row.text !== null)",
            "messages: rows.filter(row => row.text !== null).reverse()",
        ),
    ),
    Fault(
        "makes the cursor of a page from a later look at the inbox",
        "list/a-cursor-never-skips-a-delivery",
        Change(
            "store.mjs",
            "const last = more ? rows.at(-1).seq : box.seq",
            "const last = more ? rows.at(-1).seq : box.seq + (rows.length > 3 ? 1 : 0)",
        ),
    ),
)
