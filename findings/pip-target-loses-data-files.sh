#!/usr/bin/env bash
# One would guess: `pip install --target FOLDER` puts everything into FOLDER that a wheel has.
# What happens: data files below lib/ (a systemd unit, in lib/systemd/system) are thrown away without a word, and pip exits with 0. Data
#   files below share/ come. RECORD, in FOLDER, lists the file that is not there. In a virtual environment the same wheel puts both in place.
# Version: pip 26.3 and hatchling 1.33.0, from PyPI.
#   Seen: environment: unit, page; target: page; the record of the target has the unit
# Who meets it: packages for Debian, containers and serverless functions, which are often made with --target, of anything that ships a unit.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1
python3 -m venv "$folder/venv"
pip=("$folder/venv/bin/python" -m pip)
"${pip[@]}" install -q pip==26.3 2>/dev/null
"${pip[@]}" install -q hatchling==1.33.0 2>/dev/null
mkdir -p "$folder/project/demo" && cd "$folder/project"
touch demo/__init__.py demo.service demo.html
cat > pyproject.toml <<'TOML'
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "demo"
version = "1"
[tool.hatch.build.targets.wheel.shared-data]
"demo.service" = "lib/systemd/system/demo.service"
"demo.html" = "share/doc/demo/demo.html"
TOML
"${pip[@]}" wheel -q --no-index --no-build-isolation --no-deps --wheel-dir "$folder" . 2>/dev/null
"${pip[@]}" install -q --no-index --no-deps "$folder"/demo-1-*.whl
"${pip[@]}" install -q --no-index --no-deps --target "$folder/target" "$folder"/demo-1-*.whl
there() { for file in "unit $1/lib/systemd/system/demo.service" "page $1/share/doc/demo/demo.html"; do [ ! -e "${file#* }" ] || echo "${file%% *}"; done | paste -sd, | sed 's/,/, /'; }
record=$(grep -q demo.service "$folder"/target/demo-1.dist-info/RECORD && echo has || echo "does not have")
seen="environment: $(there "$folder/venv"); target: $(there "$folder/target"); the record of the target $record the unit"
echo "$seen"
expected='environment: unit, page; target: page; the record of the target has the unit'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: pip install --target treats data files below lib/ otherwise."; exit 1; }
