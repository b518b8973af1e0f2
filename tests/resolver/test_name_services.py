"""Several name services as one: in order on failure only, or all of them in agreement."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from inbox_server.errors import Refused, Unavailable
from inbox_server.outgoing.fetch import Fetcher, open_fetcher
from inbox_server.resolver.contract import Missing
from inbox_server.resolver.service import NameRecord, NameServices
from tests.support.hosts import Host, running_host

NAME = "/v1/names/alice.id"
RECORD = NameRecord("SP2J6ZY48GV1EZ5V2V5RB9MP66SW86PYKKNRV9EJ7", "a zone file")


@pytest.fixture
async def first() -> AsyncIterator[Host]:
    async with running_host() as host:
        yield host


@pytest.fixture
async def second() -> AsyncIterator[Host]:
    async with running_host() as host:
        host.put_name("alice.id", RECORD.owner, RECORD.zone_file)
        yield host


@pytest.fixture
async def fetcher(first: Host, second: Host) -> AsyncIterator[Fetcher]:
    async with open_fetcher(allow=frozenset({first.url, second.url})) as fetcher:
        yield fetcher


@pytest.fixture
def in_order(fetcher: Fetcher, first: Host, second: Host) -> NameServices:
    return NameServices(fetcher, (first.url, second.url), agreement=False)


@pytest.fixture
def in_agreement(fetcher: Fetcher, first: Host, second: Host) -> NameServices:
    return NameServices(fetcher, (first.url, second.url), agreement=True)


async def test_the_first_that_knows_answers(in_order: NameServices, first: Host, second: Host) -> None:
    first.put_name("alice.id", "another owner", "")
    assert (await in_order.look_up("alice.id")).owner == "another owner"
    assert (first.asked, second.asked) == ([NAME], [])


@pytest.mark.parametrize("status", [404, 400])
async def test_the_next_is_not_asked_when_there_is_no_such_name(
    in_order: NameServices, first: Host, second: Host, status: int
) -> None:
    with first.down(status), pytest.raises(Refused, match="name_unproven"):
        await in_order.look_up("alice.id")
    assert second.asked == []


@pytest.mark.parametrize("status", [401, 403, 410, 429, 500, 503, 204])
async def test_the_next_is_asked_when_one_fails(in_order: NameServices, first: Host, second: Host, status: int) -> None:
    with first.down(status):
        assert await in_order.look_up("alice.id") == RECORD
    assert (first.asked, second.asked) == ([NAME], [NAME])


GARBAGE = {
    "nothing": b"",
    "no JSON": b"<html>",
    "not UTF-8": b"\xff\xfe",
    "a list": b"[]",
    "no address": b'{"zonefile":""}',
    "an address of another kind": b'{"address":7}',
    "brackets": b"[" * 60_000,
    "too much": b'{"address":"x"}'.ljust(64 * 1024 + 1),
}


@pytest.mark.parametrize("body", GARBAGE.values(), ids=GARBAGE.keys())
async def test_the_next_is_asked_when_one_answers_garbage(in_order: NameServices, first: Host, body: bytes) -> None:
    first.put(NAME, body)
    assert await in_order.look_up("alice.id") == RECORD


async def test_a_service_that_is_not_there_is_passed_over(fetcher: Fetcher, second: Host) -> None:
    services = NameServices(fetcher, ("http://127.0.0.1:1", second.url), agreement=False)
    assert await services.look_up("alice.id") == RECORD


@pytest.mark.parametrize("agreement", [False, True])
async def test_when_all_fail_names_are_unavailable(
    fetcher: Fetcher, first: Host, second: Host, agreement: bool
) -> None:
    services = NameServices(fetcher, (first.url, second.url), agreement=agreement)
    with first.down(), second.down(), pytest.raises(Unavailable, match="names_unavailable"):
        await services.look_up("alice.id")


async def test_without_a_service_no_name_is_known(fetcher: Fetcher) -> None:
    with pytest.raises(Refused, match="name_unproven") as caught:
        await NameServices(fetcher, (), agreement=False).look_up("alice.id")
    assert "app public key" in caught.value.detail


async def test_a_redirect_to_a_registrar_is_followed(in_order: NameServices, first: Host, second: Host) -> None:
    second.put("/v1/names/alice.sub.id", json.dumps({"address": RECORD.owner}))
    location = {"Location": second.url + "/v1/names/alice.sub.id"}
    first.put("/v1/names/alice.sub.id", b"", status=302, headers=location)
    assert await in_order.look_up("alice.sub.id") == NameRecord(RECORD.owner, "")


async def test_a_redirect_to_where_nobody_allowed_it_is_a_failure(first: Host, second: Host) -> None:
    async with open_fetcher(allow=frozenset()) as fetcher:
        first.put(NAME, b"", status=302, headers={"Location": second.url + NAME})
        with pytest.raises(Unavailable):
            await NameServices(fetcher, (first.url,), agreement=False).look_up("alice.id")
    assert second.asked == []


async def test_a_circle_of_redirects_is_a_failure(fetcher: Fetcher, first: Host) -> None:
    first.put(NAME, b"", status=302, headers={"Location": NAME})
    with pytest.raises(Unavailable):
        await NameServices(fetcher, (first.url,), agreement=False).look_up("alice.id")
    assert len(first.asked) == 3


async def test_a_base_with_a_path_is_kept(fetcher: Fetcher, first: Host) -> None:
    first.put("/api" + NAME, json.dumps({"address": RECORD.owner}))
    services = NameServices(fetcher, (first.url + "/api",), agreement=False)
    assert (await services.look_up("alice.id")).owner == RECORD.owner


@pytest.mark.parametrize("zone_file", [None, 7, ["a"]])
async def test_a_name_without_a_zone_file_has_an_empty_one(
    in_order: NameServices, first: Host, zone_file: object
) -> None:
    first.put(NAME, json.dumps({"address": RECORD.owner, "zonefile": zone_file}))
    assert await in_order.look_up("alice.id") == NameRecord(RECORD.owner, "")


@pytest.mark.parametrize("status", ["revoked", "name-revoke"])
async def test_a_revoked_name_is_nobodys_and_that_is_no_lapse(
    in_order: NameServices, in_agreement: NameServices, first: Host, second: Host, status: str
) -> None:
    for host in (first, second):
        host.put(NAME, json.dumps({"address": RECORD.owner, "zonefile": RECORD.zone_file, "status": status}))
    for services in (in_order, in_agreement):
        with pytest.raises(Refused, match="name_unproven") as caught:
            await services.look_up("alice.id")
        assert not isinstance(caught.value, Missing)
        assert "revoked" in caught.value.detail


@pytest.mark.parametrize("zone_file", [{}, {"zonefile": None}, {"zonefile": ""}])
async def test_a_zone_file_is_read_from_where_some_services_put_it(
    in_order: NameServices, first: Host, zone_file: dict[str, Any]
) -> None:
    first.put(NAME, json.dumps({"address": RECORD.owner, "zonefile_txt": RECORD.zone_file, **zone_file}))
    assert await in_order.look_up("alice.id") == RECORD


async def test_services_that_agree_are_believed(in_agreement: NameServices, first: Host, second: Host) -> None:
    first.put_name("alice.id", RECORD.owner, RECORD.zone_file)
    assert await in_agreement.look_up("alice.id") == RECORD
    assert (first.asked, second.asked) == ([NAME], [NAME])


@pytest.mark.parametrize("other", ["another owner", None])
async def test_services_that_disagree_about_the_owner_are_unavailable(
    in_agreement: NameServices, first: Host, other: str | None
) -> None:
    if other:
        first.put_name("alice.id", other, RECORD.zone_file)
    with pytest.raises(Unavailable, match="names_unavailable"):
        await in_agreement.look_up("alice.id")


async def test_services_that_agree_that_there_is_no_such_name_are_believed(in_agreement: NameServices) -> None:
    with pytest.raises(Refused, match="name_unproven"):
        await in_agreement.look_up("nobody.id")


async def test_for_agreement_none_may_fail(in_agreement: NameServices, first: Host) -> None:
    with first.down(), pytest.raises(Unavailable):
        await in_agreement.look_up("alice.id")
