"""clients/js as it is published: its own tests, what is packed, its types, and the one-file bundle."""

import gzip
import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.dev_world import dev_world
from tests.support.javascript import CLIENT, build_client, missing, npm, open_node, search_path

pytestmark = pytest.mark.timeout(120, func_only=True)

_README = (CLIENT / "README.md").read_text()
_INSTALL_SECONDS = 100
_TEST_SECONDS = 100
_USE = """\
import { check, InboxClient, Refused, type Entry, type News, type SendReport } from 'message-inbox-client';
import * as bundle from 'message-inbox-client/bundle';

const client = new InboxClient({ privateKey: '11'.repeat(32), app: 'https://chat.example', storage: localStorage });
const report: SendReport = await client.send('bob.id', new Uint8Array(1), { ttlSeconds: 60 });
const refused: string[] = report.refused.map(({ problem }) => problem.code);
const { entries }: { entries: Entry[] } = await client.unread();
for await (const news of client.watch({ signal: AbortSignal.timeout(1) })) {
  const each: News = news;
  if (each.kind === 'down' && each.problem instanceof Refused) console.log(each.problem.code, refused, entries);
}
// @ts-expect-error: a recipient is a text
await client.send(7, 'text');
const { ok, problems }: { ok: boolean; problems: string[] } = await bundle.check('https://inbox.example');
console.log(ok, problems, check);
"""
_RUN = """
import * as modules from 'message-inbox-client';
import * as bundle from 'message-inbox-client/bundle';
for (const { InboxClient } of [modules, bundle]) {
  const client = new InboxClient({ privateKey: '11'.repeat(32), app: 'https://chat.example' });
  console.log(client.address);
}
console.log(Object.keys(modules).sort().join() === Object.keys(bundle).sort().join());
"""
_ADDRESS = "1Q1pE5vPGEEMqRcVRMbtBK842Y6Pzo6nK9"  # of the private key 11…11


@pytest.fixture(scope="session")
def dist() -> Path:
    open_node(search_path())
    return build_client(search_path())


@pytest.fixture(scope="session")
def project(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty project with the packed package installed."""
    folder = tmp_path_factory.mktemp("project")
    packed = npm(
        ("pack", "--json", "--ignore-scripts", f"--pack-destination={folder}"), CLIENT, search_path(), seconds=60
    )
    assert packed.returncode == 0, packed.stderr
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    (tarball,) = folder.glob("*.tgz")
    install = ("install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline", f"./{tarball.name}")
    done = npm(install, folder, search_path(), seconds=_INSTALL_SECONDS)
    if done.returncode != 0:
        missing(f"npm install failed: {' '.join(done.stderr.split())[:500]}")
    return folder


def run_node(*arguments: str | Path, folder: Path) -> str:
    program = open_node(search_path()).program
    done = subprocess.run(
        [program, *arguments], cwd=folder, capture_output=True, text=True, timeout=_TEST_SECONDS, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("tests", sorted(CLIENT.glob("test/*.test.mjs")), ids=lambda path: path.name.split(".")[0])
def test_its_own_tests_pass(dist: Path, tests: Path) -> None:
    """Without `--test`, the file's own process runs them: each has the whole time, and there is one process less."""
    run_node(tests, folder=CLIENT)


def test_what_is_packed_is_what_is_needed(project: Path) -> None:
    package = project / "node_modules" / "message-inbox-client"
    names = {path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()}
    modules = {f"dist/{source.stem}{end}" for source in CLIENT.glob("src/*.ts") for end in (".js", ".d.ts")}
    assert names == {"LICENSE", "README.md", "package.json", "dist/inbox-client.js", *modules}


def test_the_packed_package_and_its_bundle_run_in_node(project: Path) -> None:
    (project / "run.mjs").write_text(_RUN)
    assert run_node("run.mjs", folder=project).split() == [_ADDRESS, _ADDRESS, "true"]


def test_the_types_of_the_packed_package_check(project: Path) -> None:
    (project / "use.ts").write_text(_USE)
    tsc = CLIENT / "node_modules" / "typescript" / "bin" / "tsc"
    options = ("--strict", "--noEmit", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom")
    run_node(tsc, *options, "use.ts", folder=project)


def test_the_bundle_needs_nothing_else_and_is_as_small_as_the_readme_says(dist: Path) -> None:
    bundle = (dist / "inbox-client.js").read_bytes()
    assert re.search(rb"""\bfrom\s*["']|\bimport\s*["'(]|\brequire\(""", bundle) is None
    stated = re.search(r"([0-9.]+) kB gzipped", _README)
    assert stated
    assert len(gzip.compress(bundle, 9)) / 1000 == pytest.approx(float(stated[1]), rel=0.03)


def test_the_readme_s_example_for_the_local_world_runs_as_it_is_printed(project: Path) -> None:
    (example,) = (each for each in re.findall(r"```js\n(.*?)```", _README, re.DOTALL) if "world.json" in each)
    (project / "try.mjs").write_text(example)
    with dev_world(project) as world:
        said = run_node("try.mjs", folder=project).splitlines()
    assert said == [
        f"stored at {world['inbox_url']} signed, first contact",
        "alice.id The meadow at noon?",
        "accounted",
    ]


def test_the_readme_has_every_method_and_all_kinds_of_news() -> None:
    source = (CLIENT / "src" / "client.ts").read_text()
    methods = set(re.findall(r"^  (?:async )?\*?([a-z]\w+)\(.*\{$", source, re.MULTILINE)) - {"constructor"}
    table = _README.split("## What there is")[1].split("A recipient is a name")[0]
    told = {
        name for row in table.splitlines() for name in re.findall(r"`(\w+)\(", row.split("|")[1] if "|" in row else "")
    }
    assert told - {"check"} == methods
    news = set(re.findall(r"kind: '(\w+)'", (CLIENT / "src" / "news.ts").read_text()))
    (row,) = (row for row in table.splitlines() if row.startswith("| `watch("))
    assert set(re.findall(r"`(\w+)`", row.split("|")[3])) == news


def test_the_readme_has_no_link_that_leads_out_of_the_package() -> None:
    assert re.findall(r"\]\((?!https?://|#)[^)]*\)", _README) == []


def test_the_lock_file_pins_what_package_json_names_and_names_no_registry() -> None:
    wanted = json.loads((CLIENT / "package.json").read_text())
    locked = json.loads((CLIENT / "package-lock.json").read_text())["packages"]
    assert locked[""]["dependencies"] == wanted["dependencies"]
    assert locked[""]["devDependencies"] == wanted["devDependencies"]
    packages = [package for path, package in locked.items() if path]
    assert all("integrity" in package and "resolved" not in package for package in packages)


def test_the_source_is_read_in_rooms_of_at_most_300_lines() -> None:
    long = {path.name for path in CLIENT.glob("src/*.ts") if len(path.read_text().splitlines()) > 300}
    assert long == set()
