# Needs make and Python 3.11 or newer with venv; everything else goes into .venv, in the versions uv.lock names.
# Another Python: make demo PYTHON=python3.13

PYTHON ?= python3
JOBS ?= 200

BIN := .venv/bin
UV := $(BIN)/uv --quiet --no-config
UV_VERSION := $(shell sed -n '/^name = "uv"$$/{n;s/^version = "\(.*\)"$$/\1/p;}' uv.lock)

# A copied, moved or half-made .venv would run another checkout's code or none: .ready holds the folder it was made for.
STALE := $(shell [ -x $(BIN)/python ] && [ "$$(cat .venv/.ready 2>/dev/null)" = "$$(pwd)" ] || echo recreate)

# What a developer's shell says to uv, pip and Python about other projects must not leak into this one. Settings
# about reaching the network stay.
unexport PYTHONHOME PYTHONPATH PYTHONDONTWRITEBYTECODE VIRTUAL_ENV PIP_TARGET PIP_PREFIX PIP_REQUIRE_HASHES
unexport $(filter-out UV_CACHE_DIR UV_HTTP% UV_NATIVE_TLS UV_SYSTEM_CERTS UV_INSECURE_HOST,$(filter UV_%,$(.VARIABLES)))
export PIP_USER := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export UV_LINK_MODE := copy

.PHONY: help demo up test check lint one bench bench-quick peers clean setup recreate

help:
	@echo "make demo          run $(JOBS) verifications end to end and show them (JOBS=1000 for more)"
	@echo "make up            run the whole system here until Ctrl-C"
	@echo "make test          all checks and all tests, as CI runs them"
	@echo "make check         lint, types, import rules and the tests that need no server"
	@echo "make one T=tests/test_wiring.py    one file or one test"
	@echo "make bench         measure this system beside others (SECTION=latency for one part), some 25 minutes"
	@echo "make bench-quick   the same in a minute or two, only to see that everything runs"
	@echo "make clean         remove .venv, caches and the embedded servers' data"

demo: setup
	@$(BIN)/python -m worker demo --jobs $(JOBS)

up: setup
	@$(BIN)/python -m worker up

# Tests that kill processes or start the whole system come last, by themselves: half the time they wait, so more run at
# once. Files stay together, for their tests may share a system.
test: lint
	$(BIN)/python -m pytest --numprocesses 3 --dist worksteal -m "not (kills or end_to_end)"
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile -m "kills or end_to_end"

check: lint
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m "not (servers or kills or end_to_end)"

lint: setup
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

one: setup
	@[ -n "$(T)" ] || { echo "make one needs a test: make one T=tests/test_wiring.py" >&2; exit 1; }
	$(BIN)/python -m pytest $(T)

bench: setup peers
	$(BIN)/python -m benchmarks $(SECTION)

bench-quick: setup peers
	$(BIN)/python -m benchmarks --quick $(SECTION)

# Root's data may have had to move out of .worker: worker/dev/embedded/placement.py
clean:
	[ ! -L .worker/servers/data ] || rm -rf "$$(readlink .worker/servers/data)"
	rm -rf .venv .venv-bench .venv-bench-redis5 .worker dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

setup: .venv/.ready

peers: .venv-bench/.ready .venv-bench-redis5/.ready

recreate:
	@command -v "$(PYTHON)" >/dev/null || \
	  { echo "$(PYTHON) was not found: install Python 3.11 or newer, or name one with make PYTHON=..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is $$("$(PYTHON)" -V), but 3.11 or newer is needed: name one with make PYTHON=..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PYTHON) has no venv module: on Debian or Ubuntu, apt install python3-venv" >&2; exit 1; }
	@echo "Making .venv (once; about 95 MB to download)"
	@"$(PYTHON)" -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --only-binary :all: "uv==$(UV_VERSION)"

# uv downloads from PyPI whatever pip is told; where only a mirror set up for pip can be reached, pip takes over with
# the same versions and hashes. The build tool comes from the lock too, hence no build isolation. Compiled at once: what
# starts here starts dozens of processes, at the same time.
.venv/.ready: pyproject.toml uv.lock $(STALE)
	@[ -n "$$UV_CACHE_DIR" ] || mkdir -p "$${XDG_CACHE_HOME:-$$HOME/.cache}/uv" 2>/dev/null || export UV_NO_CACHE=1; \
	$(UV) sync --frozen --all-extras --no-install-project --compile-bytecode || { \
	  echo "uv could not reach PyPI; trying pip, which follows this machine's pip configuration" >&2 && \
	  $(UV) export --frozen --all-extras --no-emit-project --output-file .venv/requirements.txt >/dev/null && \
	  $(BIN)/python -m pip install --quiet --require-hashes --requirement .venv/requirements.txt; } && \
	$(UV) pip install --offline --no-deps --no-build-isolation --python $(BIN)/python --editable .
	@pwd > $@

# The systems we are measured against: the environment .venv-X holds the group X of pyproject.toml.
.venv-%/.ready: pyproject.toml uv.lock | setup
	@echo "Making .venv-$* (once)"
	@[ -n "$$UV_CACHE_DIR" ] || mkdir -p "$${XDG_CACHE_HOME:-$$HOME/.cache}/uv" 2>/dev/null || export UV_NO_CACHE=1; \
	$(BIN)/python -m venv --clear .venv-$* && \
	{ UV_PROJECT_ENVIRONMENT=.venv-$* $(UV) sync --frozen --only-group $* --compile-bytecode || { \
	  echo "uv could not reach PyPI; trying pip, which follows this machine's pip configuration" >&2 && \
	  $(UV) export --frozen --only-group $* --output-file .venv-$*/requirements.txt >/dev/null && \
	  .venv-$*/bin/python -m pip install --quiet --require-hashes --requirement .venv-$*/requirements.txt; }; }
	@pwd > $@
