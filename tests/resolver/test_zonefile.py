"""Zone files: which URL is the profile's, as stacks.js finds it, and no text that hangs or breaks the reader."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox_server.resolver.zonefile import profile_url

VECTORS: Any = json.loads((Path(__file__).parent.parent / "vectors" / "stacks.json").read_text(encoding="utf-8"))
URL = "https://gaia.example/hub/139DzmzVEBZSh7VF1YjgdzndDgbUhTWEMn/profile.json"
HTTPS_ONLY = "_https._tcp URI"


@pytest.mark.parametrize("vector", VECTORS["zonefiles"], ids=lambda v: v["parsed"].get("$origin", v["zonefile"]))
def test_the_profile_is_where_stacks_js_looks_and_behind_https_tcp_too(vector: dict[str, Any]) -> None:
    """Here we take more than stacks.js: `_https._tcp` stands in zone files in the wild."""
    expected = vector["tokenFileUrl"]
    if HTTPS_ONLY in vector["zonefile"]:
        assert expected is None
        expected = vector["parsed"]["uri"][0]["target"]
    assert profile_url(vector["zonefile"]) == expected


@pytest.mark.parametrize("name", VECTORS["names"], ids=lambda n: n["name"])
def test_a_names_zone_file_leads_to_its_profile(name: dict[str, Any]) -> None:
    assert profile_url(name["nameInfoResponse"]["zonefile"]) == name["profileUrl"]


def test_the_zone_file_inside_a_subdomains_record_is_read_like_any_other() -> None:
    operators = next(v for v in VECTORS["zonefiles"] if "txt" in v["parsed"])
    (record,) = operators["parsed"]["txt"]
    inner = base64.b64decode(record["txt"][3].removeprefix("zf0=")).decode()
    assert profile_url(inner) == "https://gaia.hiro.so/hub/1KmHuJnFqbWXbqYHhjTUVZWH1tPsbcxPWn/profile.json"


@pytest.mark.parametrize(
    "record",
    [
        f'_http._tcp IN URI 10 1 "{URL}"',
        f'_http._tcp\tIN\tURI\t10\t1\t"{URL}"',
        f'_http._tcp URI 10 1 "{URL}"',
        f'_http._tcp  \t URI \t10 1  "{URL}" ',
        f'_http._tcp 3600 IN URI 10 1 "{URL}"',
        f'_http._tcp IN 3600 URI 10 1 "{URL}"',
        f'_http._tcp 3600 URI 10 1 "{URL}"',
        f'_HTTP._TCP in uri 10 1 "{URL}"',
        f'  _http._tcp URI 0 65535 "{URL}"',
        f"_http._tcp URI 10 1 {URL}",
        f'_http._tcp URI 10 1 "{URL}" ; a comment',
        f"_http._tcp URI 10 1 {URL}; a comment",
        f'_http._tcp URI 10 1 "{URL}"\r\n',
        f'$ORIGIN alice.id.\n\n$TTL 3600\n_http._tcp URI 10 1 "{URL}"\n\n\n',
        f'_http._tcp URI 10 1 "{URL.removeprefix("https://")}"',
        f'_http._tcp TXT "x"\n_http._tcp URI 10 1 "{URL}"',
        f'_https._tcp URI 10 1 "{URL}"',
    ],
)
def test_a_uri_record_is_read_in_every_layout(record: str) -> None:
    assert profile_url(record) == URL


@pytest.mark.parametrize(
    "before",
    [
        '_resolver URI 10 1 "https://registrar.example/"',
        '_https._tcp URI 10 1 "https://other.example/"',
        'mail URI 10 1 "https://other.example/"',
        '_http._tcp.sub URI 10 1 "https://other.example/"',
        'x_http._tcp URI 10 1 "https://other.example/"',
        ';_http._tcp URI 10 1 "https://other.example/"',
        '; _http._tcp URI 10 1 "https://other.example/"',
        'sub TXT "_http._tcp URI 10 1 https://other.example/"',
        '_http._tcp URI 10 "https://other.example/"',
        '_http._tcp URI ten 1 "https://other.example/"',
        '_http._tcp CH URI 10 1 "https://other.example/"',
        '_http._tcp URI 10 1 ""',
        '_http._tcp URI 10 1 "https://other.example/',
    ],
)
def test_no_other_record_stands_for_the_profile(before: str) -> None:
    assert profile_url(f'{before}\n_http._tcp URI 10 1 "{URL}"') == URL


def test_the_first_of_several_profiles_counts_and_http_tcp_counts_before_https_tcp() -> None:
    first, second = '_http._tcp URI 10 1 "https://a.example/"', '_http._tcp URI 1 9 "https://b.example/"'
    other = '_https._tcp URI 1 9 "https://c.example/"'
    assert profile_url(f"{first}\n{second}") == "https://a.example/"
    assert profile_url(f"{second}\n{first}") == "https://b.example/"
    assert profile_url(f"{other}\n{second}\n{first}") == "https://b.example/"


@pytest.mark.parametrize(
    "zone_file",
    [
        "",
        "\n\n",
        "$ORIGIN alice.id\n$TTL 3600\n",
        '_resolver URI 10 1 "https://registrar.example/"',
        '_http._tcp A 10 1 "https://a.example/"',
        "_http._tcp URI 10 1",
        "_http._tcp URI 10 1 ;https://a.example/",
        '_http._tcp URI 10 1 "https://a.example/\nx"',
        '{"owner":"SP...","btc":"bc1..."}',
        '{"zonefile":"_http._tcp URI 10 1 https://a.example/"}',
        "_http._tcp",
        "URI 10 1 https://a.example/",
    ],
)
def test_a_zone_file_without_a_profile_names_none(zone_file: str) -> None:
    assert profile_url(zone_file) is None


def test_a_zone_file_larger_than_any_name_may_have_is_not_read() -> None:
    record = f'_http._tcp URI 10 1 "{URL}"\n'
    assert profile_url(record.ljust(8192)) == URL
    assert profile_url(record.ljust(8193)) is None


@pytest.mark.parametrize(
    "unit", [" ", "\t", "x ", "_http._tcp ", "_http._tcp URI ", "_http._tcp URI 1 ", "1 ", '"', "\n ", "IN 1 "]
)
def test_no_text_of_the_largest_size_keeps_the_reader_busy(unit: str) -> None:
    """The timeout of every test is the assertion: a reader that tries every way to split would run for hours."""
    for _ in range(20):
        assert profile_url((unit * 8192)[:8192]) is None


WORDS = st.sampled_from(
    ["_http._tcp", "_https._tcp", "URI", "IN", "10", "1", '"', f'"{URL}"', "http", ";", "\t", "\n", "\r", "\0"]
)


@given(st.text() | st.lists(WORDS, max_size=30).map(" ".join))
def test_whatever_the_text_the_answer_is_a_url_or_nothing(zone_file: str) -> None:
    url = profile_url(zone_file)
    assert url is None or (url.startswith("http") and "\n" not in url and "\r" not in url)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='"'), min_size=1))
def test_what_stands_between_the_quotes_is_the_url(target: str) -> None:
    assert profile_url(f'_http._tcp URI 10 1 "http://{target}"') == f"http://{target}"
