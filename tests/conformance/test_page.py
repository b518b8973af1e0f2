"""Every rule of docs/protocol.md has a case or a reason why not, and every case says which sentence it checks."""

import re
from pathlib import Path

import pytest

from inbox_server.commands.conformance import CANNOT_RUN_EXIT, CONFORMS_EXIT, FAILED_EXIT
from inbox_server.conformance.cases import Case
from inbox_server.conformance.observed import CODES
from inbox_server.conformance.suite import GROUPS, chosen
from tests.test_docs import table_in

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


def normative() -> list[tuple[str, str]]:
    """Every sentence with MUST or SHOULD, and its section."""
    return [
        (section, sentence)
        for section, text in SECTIONS.items()
        for sentence in re.split(r"(?<=[.|])\s+", text)
        if re.search(r"\b(MUST|SHOULD)\b", sentence)
    ]


UNCHECKED = [quote for quote, _ in table_in("docs/conformance.md", "sentences")]


@pytest.mark.parametrize(("section", "sentence"), normative())
def test_a_normative_sentence_has_a_case_or_a_reason_why_not(section: str, sentence: str) -> None:
    quotes = [quote for case in CASES if case.section == section for quote in case.sentences]
    assert any(quote in sentence or sentence in quote for quote in quotes + UNCHECKED), (
        "docs/protocol.md has a new or changed MUST or SHOULD: give it a case that quotes it, or a reason in"
        " docs/conformance.md why it has none"
    )


@pytest.mark.parametrize("quote", UNCHECKED)
def test_a_sentence_without_a_case_is_on_the_page(quote: str) -> None:
    assert any(quote in text for text in SECTIONS.values())
    assert re.search(r"\b(MUST|SHOULD)\b", quote)


def test_the_documentation_has_every_group_and_exit_code() -> None:
    groups = [name.strip("`") for name, _ in table_in("docs/conformance.md", "groups")]
    assert groups == [group.name for group in GROUPS]
    codes = [int(code) for code, _ in table_in("docs/conformance.md", "exit codes")]
    assert codes == [CONFORMS_EXIT, FAILED_EXIT, CANNOT_RUN_EXIT]


def test_the_suite_knows_the_codes_of_the_page() -> None:
    assert {row[0].strip("`"): int(row[1]) for row in table_in("docs/protocol.md", "errors")} == CODES


def test_every_feature_of_the_page_has_a_case() -> None:
    features = {name.strip("`") for name, _ in table_in("docs/protocol.md", "features")}
    assert features == {case.feature for case in CASES if case.feature}


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
