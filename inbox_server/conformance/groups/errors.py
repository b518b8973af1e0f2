"""Group `errors`: refusals are problem documents with the codes of the table."""

from typing import Final

from inbox_server.conformance.bench import Bench
from inbox_server.conformance.cases import Group

GROUP: Final = Group("errors", "refusals")


@GROUP.required("A refusal follows RFC 9457.", last=True)
async def every_refusal_is_a_problem_document(bench: Bench) -> None:
    """Every refusal of the run was `application/problem+json`: a code of the table, its status, a title, a detail."""
    await bench.second()
    bench.observed.judge("problem")
