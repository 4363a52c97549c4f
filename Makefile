# Needs only Python 3.10 to 3.13 and the package registry. `make demo` and `make test` make their own environment.
PYTHON ?= $(shell for v in python3.11 python3.12 python3.13 python3.10 python3; do \
	command -v $$v >/dev/null 2>&1 && $$v -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& { echo $$v; break; }; done)
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.made
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: setup demo check format test test-slow test-pythons test-cluster soak test-browser test-server test-jax wheel test-wheel bench lock clean
setup: $(STAMP)
$(STAMP): pyproject.toml requirements.lock
	@test -n "$(PYTHON)" || { echo "no Python 3.10 to 3.13 found: install one, or name it with make PYTHON=/path/to/python3.11" >&2; exit 2; }
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install -q --disable-pip-version-check -c requirements.lock -e '.[dev]'
	$(RUN) -m augmentor.models --fetch > /dev/null
	@touch $@

demo: $(STAMP)
	@$(RUN) -m jobs.demo --out demo

check: $(STAMP)
	@$(VENV)/bin/ruff format --check -q . && $(VENV)/bin/ruff check -q . && $(VENV)/bin/mypy --no-error-summary && $(RUN) -m pytest -q --no-header -p no:cacheprovider tests/test_structure.py

format: $(STAMP)
	$(VENV)/bin/ruff format -q . && $(VENV)/bin/ruff check -q --fix .

test: $(STAMP)
	$(RUN) -m pytest

test-slow: $(STAMP)
	$(RUN) -m pytest -m slow

test-pythons: $(STAMP)
	@$(RUN) -m tests.pythons

test-cluster: $(STAMP)
	@$(RUN) -m tests.cluster.machines
	$(RUN) -m pip install -q --disable-pip-version-check -e '.[cluster-tests]'
	$(RUN) -m pytest -m cluster tests

soak: $(STAMP)
	@$(RUN) -m tests.cluster.machines
	$(RUN) -m pip install -q --disable-pip-version-check -e '.[cluster-tests]'
	$(RUN) -m pytest -m soak tests

test-browser: $(STAMP)
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
	|| { echo "no Chromium here: apt install chromium" >&2; exit 2; }
	$(RUN) -m pip install -q --disable-pip-version-check -e '.[browser]'
	$(RUN) -m pytest -m browser tests/browser

test-server: $(STAMP)
	$(RUN) -m pip install -q --disable-pip-version-check -e '.[server-tests]'
	$(RUN) -m pytest -m server tests/server

test-jax: $(STAMP)
	$(RUN) -m pip install -q --disable-pip-version-check -e '.[jax]'
	KERAS_BACKEND=jax $(RUN) -m pytest -m jax tests/jax

wheel: $(STAMP)
	rm -rf dist build/lib build/bdist.*
	$(RUN) -m pip wheel -q --disable-pip-version-check --no-deps -w dist .

test-wheel: wheel
	@$(RUN) -m tests.wheel dist/likeness-*.whl

bench: $(STAMP)
	$(RUN) -m benchmarks.synthetic --json

lock: $(STAMP)
	$(RUN) -m pip install -q uv && $(VENV)/bin/uv pip compile -q --universal --python-version 3.10 --extra dev --no-header pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) demo build dist
