"""Group `headers`: what browsers need on every answer."""

from typing import Final

from inbox_server.conformance.bench import Bench
from inbox_server.conformance.cases import Group

GROUP: Final = Group("headers", "every-answer")


@GROUP.required("Every answer, of any status, has `Access-Control-Allow-Origin: *`", last=True)
async def every_answer_is_for_every_origin(bench: Bench) -> None:
    """Every answer of the run, refusals too, had one `Access-Control-Allow-Origin`, and it was `*`."""
    await bench.second()
    bench.observed.judge("allow-origin")
