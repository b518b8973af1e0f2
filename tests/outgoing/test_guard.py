"""The guard as text and numbers: every address range at both its edges, every way to write a URL around it."""

import string
import traceback

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from inbox_server.outgoing.guard import (
    MAX_URL_CHARACTERS,
    NotAllowed,
    check_stranger_url,
    is_public,
    may_dial,
    read_url,
    read_url_to_the_byte,
)

PUBLIC_ADDRESSES = (
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "191.255.255.255",
    "192.0.1.0",
    "192.0.1.255",
    "192.0.3.0",
    "192.31.195.255",
    "192.31.197.0",
    "192.52.192.255",
    "192.52.194.0",
    "192.88.98.255",
    "192.88.100.0",
    "192.167.255.255",
    "192.169.0.0",
    "192.175.47.255",
    "192.175.49.0",
    "198.17.255.255",
    "198.20.0.0",
    "198.51.99.255",
    "198.51.101.0",
    "203.0.112.255",
    "203.0.114.0",
    "223.255.255.255",
    "2000::",
    "2001:200::",
    "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
    "2001:db9::",
    "2001:4860:4860::8888",
    "2003::",
    "2606:4700:4700::1111",
    "2620:4f:7fff::",
    "2620:4f:8001::",
    "2a00:1450:4001:80b::200e",
    "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "3fff:1000::",
    "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
)
INTERNAL_ADDRESSES = (
    # IPv4, both edges of each range
    "0.0.0.0",
    "0.255.255.255",
    "10.0.0.0",
    "10.255.255.255",
    "100.64.0.0",
    "100.127.255.255",
    "127.0.0.0",
    "127.0.0.1",
    "127.255.255.255",
    "169.254.0.0",
    "169.254.169.254",
    "169.254.255.255",
    "172.16.0.0",
    "172.31.255.255",
    "192.0.0.0",
    "192.0.0.170",
    "192.0.0.255",
    "192.0.2.0",
    "192.0.2.255",
    "192.31.196.0",
    "192.31.196.255",
    "192.52.193.0",
    "192.52.193.255",
    "192.88.99.0",
    "192.88.99.255",
    "192.168.0.0",
    "192.168.255.255",
    "192.175.48.0",
    "192.175.48.255",
    "198.18.0.0",
    "198.19.255.255",
    "198.51.100.0",
    "198.51.100.255",
    "203.0.113.0",
    "203.0.113.255",
    "224.0.0.0",
    "239.255.255.255",
    "240.0.0.0",
    "255.255.255.255",
    # IPv6: what holds IPv4
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "2002::",
    "2002:7f00:1::",
    "2002:808:808::1",
    "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "2001::",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    # IPv6: protocol assignments, documentation, AS112
    "2001:2::",
    "2001:10::",
    "2001:20::",
    "2001:4:112::",
    "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
    "2001:db8::",
    "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
    "2620:4f:8000::",
    "2620:4f:8000:ffff:ffff:ffff:ffff:ffff",
    "3fff::",
    "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
    # IPv6: outside of what is given out
    "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "4000::",
    "5f00::1",
    "100::",
    "fc00::",
    "fd00:ec2::254",
    "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "fe80::1",
    "fe80::1%eth0",
    "fe80::1%2",
    "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    # a scope marks an address as this machine's business, whatever it is
    "2606:4700:4700::1111%1",
    "::1%lo",
)
NOT_ADDRESSES = (
    "",
    "localhost",
    "8.8.8",
    "127.1",
    "134744072",
    "0x8.8.8.8",
    "8.8.8.08",
    "8.8.8.8.",
    " 8.8.8.8",
    "8.8.8.8\n",
    "8.8.8.8/32",
    "8.8.8.8%1",
    "[2000::1]",
    "２.2.2.2",
    "٨.٨.٨.٨",
)


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES)
def test_an_address_of_the_public_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", INTERNAL_ADDRESSES)
def test_an_address_of_a_special_range_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("text", NOT_ADDRESSES)
def test_what_is_no_canonical_address_is_not_public(text: str) -> None:
    assert not is_public(text)


def test_only_the_webs_port_may_be_dialled() -> None:
    assert may_dial("8.8.8.8", 443)
    assert not any(may_dial("8.8.8.8", port) for port in (0, 22, 25, 80, 442, 444, 8443, 65535))
    assert not may_dial("127.0.0.1", 443)


@given(st.ip_addresses(v=4, network="127.0.0.0/8") | st.ip_addresses(v=4, network="10.0.0.0/8"))
def test_no_ipv6_form_makes_an_internal_ipv4_address_public(address: object) -> None:
    for form in ("::{}", "::ffff:{}", "::ffff:0:{}", "64:ff9b::{}", "64:ff9b:1::{}"):
        assert not is_public(form.format(address))


@given(st.text())
def test_any_text_can_be_asked_whether_it_is_public(text: str) -> None:
    assert is_public(text) in (True, False)


# What `read_url` refuses: nobody may ask for these, not even the operator.
UNREADABLE = (
    "",
    "host.example",
    "//host.example/",
    "/path",
    "https:",
    "https://",
    "https:///path",
    "https:host.example",
    "https://:443/",
    "ftp://host.example/",
    "file:///etc/passwd",
    "gopher://host.example:70/_x",
    "data:text/plain,x",
    "javascript:alert(1)",
    "ws://host.example/",
    "unix:///run/x.sock",
    "http+unix://%2frun%2fx.sock/",
    "dict://host.example:11211/stat",
    "https://user@host.example/",
    "https://user:password@host.example/",
    "https://:password@host.example/",
    "https://public.example@127.0.0.2/",
    "https://public.example%2f@127.0.0.2/",
    "https://public.example:443@127.0.0.2/",
    "https://public.example\\@127.0.0.2/",
    "https://127.0.0.2\\@public.example/",
    "https:\\\\127.0.0.2\\",
    "https://public.example\\.internal/",
    "https://public.example/\\..\\x",
    "https://public.example/a b",
    "https://public.example/\tx",
    "https://public.example/\r\nHost:x",
    "https://public.example/\n",
    "\nhttps://public.example/",
    " https://public.example/",
    "https://public.example/\x00",
    "https://public.example/\x7f",
    "https://①②⑦.0.0.2/",
    "https://１２７.0.0.2/",
    "https://127。0。0。2/",
    "https://127．0．0．2/",
    "https://١٢٧.0.0.2/",
    "https://ｅxample.com/",
    "https://exa\u00admple.com/",
    "https://public.example/ü",
    "https://[::1/",
    "https://::1]/",
    "https://[::1]x/",
    "https://[127.0.0.1]/",
    "https://public.example:99999/",
    "https://public.example:-1/",
    "https://public.example:x/",
    "https://public.example:443:443/",
    "https://xn--a.example/",
    "https://xn--.example/",
    "https://xn--zzzzzzz99999.example/",
)
# What is a URL, but not one that a stranger may have us ask for.
NOT_FOR_STRANGERS = (
    "http://public.example/",
    "http://public.example:443/",
    "https://public.example:80/",
    "https://public.example:0/",
    "https://public.example:444/",
    "https://public.example:8443/",
    "https://public.example:22/",
    "https://public.example:65535/",
    "https://public.example/#fragment",
    "https://public.example/?query#fragment",
    "https://public.example#@127.0.0.2/",
    "https://localhost/",
    "https://LOCALHOST/",
    "https://localhost./",
    "https://a.localhost/",
    "https://a.localhost./",
    "https://printer.local/",
    "https://printer.LOCAL./",
    "https://metadata.google.internal/",
    "https://router.lan/",
    "https://nas.home/",
    "https://wiki.corp/",
    "https://expyuzz4wqqyqhjn.onion/",
    "https://2.0.0.127.in-addr.arpa/",
    "https://router.home.arpa/",
    "https://a.test/",
    "https://a.invalid/",
    "https://metadata/",
    "https://intranet./",
    "https://127.0.0.2/",
    "https://127.0.0.2./",
    "https://8.8.8.8/",
    "https://127.2/",
    "https://127.0.2/",
    "https://2130706434/",
    "https://017700000002/",
    "https://0177.0.0.2/",
    "https://0177.0.0.02/",
    "https://0x7f000002/",
    "https://0x7f.2/",
    "https://0x7f.0.0.2/",
    "https://127.0.0.0x2/",
    "https://0x7f.0x0.0x0.0x2/",
    "https://127.0x2./",
    "https://%31%32%37.0.0.2/",
    "https://127%2e0%2e0%2e2/",
    "https://[::1]/",
    "https://[::]/",
    "https://[::ffff:127.0.0.2]/",
    "https://[::ffff:7f00:2]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[64:ff9b::7f00:2]/",
    "https://[2002:7f00:2::]/",
    "https://[2606:4700:4700::1111]/",
    "https://[fe80::1%25eth0]/",
    "https://[fe80::1%eth0]/",
    "https://[::1%25lo]/",
)
FOR_STRANGERS = (
    "https://public.example/",
    "https://public.example",
    "https://public.example:443/",
    "https://public.example./x",
    "HTTPS://Public.Example/x",
    "https://gaia.blockstack.org/hub/1AbC/profile.json",
    "https://s3.amazonaws.com/bucket/a%20b",
    "https://a.b.c.example/?x=1&y=@:/",
    "https://xn--bcher-kva.example/",
    "https://127.0.0.2.example/",
    "https://local.example/",
    "https://notlocal.notinternal.example/",
    "https://public.example/http://127.0.0.2/",
)


def refusal_of(text: str) -> NotAllowed | None:
    try:
        check_stranger_url(read_url(text))
    except NotAllowed as refusal:
        return refusal
    return None


@pytest.mark.parametrize("text", UNREADABLE)
def test_what_is_no_plain_url_of_a_host_is_not_read(text: str) -> None:
    with pytest.raises(NotAllowed):
        read_url(text)


@pytest.mark.parametrize("text", NOT_FOR_STRANGERS)
def test_a_stranger_may_not_name_this_url(text: str) -> None:
    with pytest.raises(NotAllowed):
        check_stranger_url(read_url(text))


@pytest.mark.parametrize("text", FOR_STRANGERS)
def test_a_stranger_may_name_this_url(text: str) -> None:
    check_stranger_url(read_url(text))


@pytest.mark.parametrize("text", [*UNREADABLE, *NOT_FOR_STRANGERS])
def test_a_url_to_the_byte_passes_no_more_than_any_other(text: str) -> None:
    with pytest.raises(NotAllowed):
        check_stranger_url(read_url_to_the_byte(text))


@pytest.mark.parametrize("text", [*FOR_STRANGERS, "http://[0:0::1]:8080?x#y", "https://Host.Example:443#"])
def test_a_url_to_the_byte_leads_to_the_same_host(text: str) -> None:
    url, exact = read_url(text), read_url_to_the_byte(text)
    assert (exact.origin(), exact.fragment) == (url.origin(), url.fragment)


def test_a_url_may_be_as_long_as_the_limit_and_no_longer() -> None:
    longest = "https://public.example/".ljust(MAX_URL_CHARACTERS, "x")
    check_stranger_url(read_url(longest))
    with pytest.raises(NotAllowed):
        read_url(longest + "x")


VISIBLE = "".join(set(string.printable) - set(string.whitespace))
HOSTS = st.text(VISIBLE, max_size=40) | st.text("xn-.:0123456789abcdef[]@/%#?\\", max_size=30)
TEXTS = st.text(max_size=60) | HOSTS.map("https://{}".format) | HOSTS.map("https://{}.example/profile.json".format)


@given(TEXTS)
@example("https://xn--a.example/")
def test_whatever_the_text_only_not_allowed_is_raised(text: str) -> None:
    refusal_of(text)


@given(TEXTS)
def test_what_a_stranger_may_name_is_https_of_a_dotted_host_at_443(text: str) -> None:
    try:
        url = read_url(text)
        check_stranger_url(url)
    except ValueError:  # that it is always NotAllowed is another test's
        return
    assert (url.scheme, url.port, url.user, url.password, url.fragment) == ("https", 443, None, None, "")
    assert url.raw_host
    assert "." in url.raw_host
    assert not is_public(url.raw_host)  # it is a name, no number


@pytest.mark.parametrize("text", [*UNREADABLE[4:], *NOT_FOR_STRANGERS])
def test_a_refusal_repeats_nothing_of_the_url(text: str) -> None:
    marked = text.replace("example", "sesame")
    try:
        refusal = refusal_of(marked)
    except ValueError:  # that it is always NotAllowed is another test's
        return
    if refusal is None:  # and that it is refused at all, too
        return
    said = "".join(traceback.format_exception_only(refusal))
    assert marked not in said
    assert "sesame" not in said
    assert "127" not in said
    assert refusal.__suppress_context__ or refusal.__context__ is None
