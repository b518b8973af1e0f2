"""Put what was measured into `docs/performance.md`, in place of what was measured before.

python -m benchmarks.page benchmarks/results/<time>.md [benchmarks/results/peers-<time>.md]
"""

import argparse
import re
from pathlib import Path
from typing import Final

from benchmarks.builds import ROOT

_PAGE: Final = ROOT / "docs" / "performance.md"


def put_in(page: str, name: str, text: str) -> str:
    """The page with other text between its two marks of that name. Raises ValueError when it has none."""
    marks = re.compile(rf"(<!-- {name}\b.*?-->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not marks.search(page):
        raise ValueError(f"the page has no marks called {name}")
    deeper = re.sub("^#", "##", text, flags=re.MULTILINE)
    return marks.sub(lambda found: f"{found[1]}{deeper.strip()}\n{found[2]}", page)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description="New figures for the documentation.")
    parser.add_argument("results", type=Path, nargs="+", metavar="FILE.md", help="what a benchmark wrote")
    page = _PAGE.read_text(encoding="utf-8")
    for file in parser.parse_args().results:
        page = put_in(page, "peers" if file.name.startswith("peers-") else "measured", file.read_text(encoding="utf-8"))
    _PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
