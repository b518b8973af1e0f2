"""Tokens whose compact form, base64url or JSON is not what it must be."""

import base64
import json
from collections.abc import Iterator

from inbox_server.conformance.vectors.accepted import to_length
from inbox_server.conformance.vectors.recipes import TYPES, Edit, Recipes, Text, Vector, edit_part, json_of, loosen
from inbox_server.protocol.base64url import decode, encode


def shapes(recipes: Recipes) -> Iterator[Vector]:
    """The compact form, and base64url."""
    for name, edit, reason in (
        ("one part", lambda _: "x", "not three parts"),
        ("two parts", lambda token: token.rpartition(".")[0], "no signature part"),
        ("four parts", lambda token: f"{token}.e30", "jsontokens ignores a fourth part"),
        ("five parts", lambda _: "e30.e30.e30.e30.e30", "a JWE has five"),
        ("a dot at the end", lambda token: f"{token}.", "an empty fourth part"),
        ("not compact", _not_compact, "the JSON serialisation"),
    ):
        yield recipes.refused(f"shape: {name}", "deliver", "token", reason, edit=edit)
    longer = {"claims_text": lambda text: f"{to_length(text)} "}
    yield recipes.refused("shape: 2,049 characters or more", "read", "token", "longer than is taken", **longer)
    yield recipes.refused("shape: nothing", "deliver", "Authorization", "Bearer and no token", token="")
    for name, space in {"space": " ", "tab": "\t", "line feed": "\n"}.items():
        what, how = f"shape: a {name} inside", {"edit": _spaced(space)}
        yield recipes.refused(what, "deliver", "Authorization", "white space in a token", **how)
    for index, part in enumerate(("header", "claims", "signature")):
        pad: Edit = (lambda text: f"{text}==") if part == "signature" else _padded
        for name, change, reason in (
            ("empty", lambda _: "", "an empty part"),
            ("padded", pad, "base64url here has no padding"),
            ("a character outside of the alphabet", lambda text: f"{text}!", "Python skips it"),
            ("a letter that is not ASCII", lambda text: f"ſ{text[1:]}", "ſ is s in another case"),
        ):
            edit = edit_part(index, change) if part == "signature" else recipes.edit_and_sign(index, change)
            yield recipes.refused(f"{part}: {name}", "deliver", part, reason, edit=edit)
    yield from _loose(recipes)


def _loose(recipes: Recipes) -> Iterator[Vector]:
    header = loosen(encode(json_of({"typ": TYPES["deliver"], "alg": "ES256K"}).ljust(52).encode()))
    signed = "unused bits that are not zero, signed"
    for name, part, edit, reason in (
        ("a tail that is not canonical", "header", recipes.edit_and_sign(0, lambda _: header), signed),
        ("a tail that is not canonical", "claims", recipes.edit_and_sign(1, _loose_claims), signed),
        ("a tail that is not canonical", "signature", edit_part(2, loosen), signed.removesuffix(", signed")),
    ):
        yield recipes.refused(f"{part}: {name}", "deliver", part, reason, edit=edit)
    # No good claims have a `+` or a `/` to write: of ASCII only `>`, `?` and `~` give them.
    text = {"claims_text": lambda _: f'{{"a":"{">" * 6}{"?" * 6}"}}', "edit": recipes.edit_and_sign(1, _standard)}
    yield recipes.refused("claims: the standard alphabet", "deliver", "claims", "+ and / are - and _ here", **text)
    how = {"edit": edit_part(2, _standard), "claims": _claims_with_marks(recipes)}
    yield recipes.refused("signature: the standard alphabet", "deliver", "signature", "+ and / are - and _ here", **how)


def _claims_with_marks(recipes: Recipes) -> dict[str, int]:
    """An `exp` with which the signature has a character that the alphabets write differently: one in 15 has none."""
    for seconds in range(300, 0, -1):
        claims = {"exp": recipes.now + seconds}
        if set("-_").intersection(recipes.make("deliver", claims=claims).rpartition(".")[2]):
            return claims
    raise AssertionError("300 signatures of letters and digits alone")


def _not_compact(token: str) -> str:
    header, claims, signature = token.split(".")
    return json_of({"header": [header], "payload": decode(claims).decode(), "signature": [signature]})


def _spaced(space: str) -> Edit:
    return lambda token: token.replace(".", f"{space}.", 1)


def _with_tail(text: str) -> str:
    """The JSON with spaces at its end, so that its last base64 group is not whole."""
    return text.ljust(len(text.encode()) + 4 - len(text.encode()) % 3)


def _padded(part: str) -> str:
    return base64.b64encode(_with_tail(decode(part).decode()).encode()).decode()


def _loose_claims(part: str) -> str:
    return loosen(encode(_with_tail(decode(part).decode()).encode()))


def _standard(part: str) -> str:
    return part.replace("-", "+").replace("_", "/")


def malformed(recipes: Recipes) -> Iterator[Vector]:
    """The JSON of both parts."""
    for name, change, reason in _not_json():
        yield recipes.refused(f"header: {name}", "read", "header", reason, header_text=change)
        yield recipes.refused(f"claims: {name}", "read", "claims", reason, claims_text=change)
    twice = "one reader takes the first, another the last"
    for part, name, text, reason in (
        ("header", "alg twice", '"alg":"ES256K"', twice),
        ("header", "alg twice, once escaped", '"\\u0061lg":"none"', "the same member after unescaping"),
        ("claims", "aud twice", '"aud":"https://evil.example"', twice),
        ("claims", "aud twice, once escaped", '"\\u0061ud":"https://evil.example"', "the same member after unescaping"),
    ):
        how = {f"{part}_text": _insert(text)}
        yield recipes.refused(f"{part}: {name}", "deliver", part, reason, **how)
    again = {"claims_text": _insert(f'"iss":"{recipes.alice.public}"')}
    yield recipes.refused("claims: iss twice and equal", "ack", "claims", "twice is twice", **again)


def _not_json() -> Iterator[tuple[str, Text, str]]:
    yield from (
        ("a byte-order mark", lambda text: f"\ufeff{text}", "JSON has none"),
        ("UTF-16", lambda text: text.encode("utf-16-le"), "only UTF-8"),
        ("bytes that are not UTF-8", _ending(b'\xff"}'), "only UTF-8"),
        ("a surrogate in UTF-8", _ending(b'\xed\xa0\x80"}'), "CESU-8 is not UTF-8"),
        ("an overlong NUL", _ending(b'\xc0\x80"}'), "modified UTF-8 is not UTF-8"),
        ("a NUL inside a string", _insert('"a":"\0"'), "control characters are escaped in JSON"),
        ("a NUL at the end", lambda text: f"{text}\0", "nothing follows the object"),
        ("half of a surrogate pair", _insert('"a":"\\ud800"'), "no text can hold it"),
        ("half of a surrogate pair as a name", _insert('"\\udc00":1'), "no text can hold it"),
        ("NaN", _insert('"a":NaN'), "not JSON"),
        ("Infinity", _insert('"a":-Infinity'), "not JSON"),
        ("1e400", _insert('"a":1e400'), "infinity to most readers"),
        ("a number that is not an integer", _insert('"a":1.5'), "integers only"),
        ("a leading zero", _insert('"a":01'), "not JSON"),
        ("1,200 brackets", _insert(f'"a":{"[" * 1200}'), "the depth must not end a reader"),
        _nested(),
        ("a comma at the end", lambda text: f"{text[:-1]},}}", "not JSON"),
        ("single quotes", lambda text: text.replace('"', "'"), "not JSON"),
        ("a comment", lambda text: f"{text}//", "not JSON"),
        ("two objects", lambda text: text + text, "one object"),
        ("an array", lambda text: f"[{text}]", "an object"),
        ("a string", lambda text: json.dumps(text, ensure_ascii=False), "an object"),
        ("null", lambda _: "null", "an object"),
    )


def _nested() -> tuple[str, Text, str]:
    depth = 150
    text = '{"":' * depth + "1" + "}" * depth
    return "150 objects", _insert(f'"a":{text}'), "nested, well-formed, and a surplus member"


def _insert(text: str) -> Text:
    return lambda json_text: f"{json_text[:-1]},{text}}}"


def _ending(tail: bytes) -> Text:
    return lambda text: text[:-2].encode() + tail
