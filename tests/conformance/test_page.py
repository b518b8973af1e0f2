"""Every rule of docs/protocol.md has a case or a reason why not, and every case says which sentence it checks."""

import re
from pathlib import Path

import pytest

from inbox_server.conformance.cases import Case
from inbox_server.conformance.suite import chosen

PAGE = (Path(__file__).parent.parent.parent / "docs" / "protocol.md").read_text()
CASES = chosen(())


def anchor(heading: str) -> str:
    """As GitHub makes it: lower case, spaces to hyphens, no other punctuation."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def flat(text: str) -> str:
    return " ".join(text.split())


def sections() -> dict[str, str]:
    """The text of each section up to the next heading, on one line."""
    parts = re.split(r"^#{1,3} (.+)$", re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL), flags=re.MULTILINE)
    return {anchor(heading): flat(text) for heading, text in zip(parts[1::2], parts[2::2], strict=True)}


SECTIONS = sections()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_case_quotes_the_page(case: Case) -> None:
    assert case.sentences
    for sentence in case.sentences:
        assert sentence in SECTIONS[case.section], f"{case.id} quotes what is not in #{case.section} (any more)"


def test_each_case_has_a_name_of_its_own_and_a_rule() -> None:
    assert len({case.id for case in CASES}) == len(CASES)
    assert [case.id for case in CASES if not case.rule.endswith(".")] == []


def test_the_second_server_links_to_sections_of_the_page() -> None:
    links = [
        link
        for file in (Path(__file__).parent.parent.parent / "examples" / "second-server").glob("*.mjs")
        for link in re.findall(r"(?<!\w)#([a-z][a-z0-9]*-[a-z0-9-]+)|protocol\.md#([\w-]+)", file.read_text())
    ]
    assert len(links) > 10
    assert [each for each in map("".join, links) if each not in SECTIONS] == []
