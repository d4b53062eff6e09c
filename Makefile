# Everything on a bare machine: Python 3.11, gcc and the package registries are all it takes, and
# Node.js for the tests, which run Azurite.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
AZURITE := tests/servers/azurite
KUSTO := tests/deployment/kusto

# Python 3.11 or newer; a .venv of an older one is made anew.
TOO_OLD := import sys; sys.exit(sys.version_info < (3, 11) and \
	"signinwatch needs Python 3.11 or newer, and %s is %d.%d; say which to take: make PYTHON=python3.11" \
	% (("$(PYTHON)",) + tuple(sys.version_info[:2])))
ifneq ($(wildcard $(VENV)/bin/python),)
ifneq ($(shell $(VENV)/bin/python -c '$(TOO_OLD)' 2>/dev/null && echo fits),fits)
$(info $(VENV) has a Python older than 3.11, or none: it is made anew)
$(shell rm -rf $(VENV))
endif
endif

.PHONY: demo test check bench docs template lock wheel clean

demo: $(VENV)/.installed
	$(RUN)/signinwatch demo

test: $(VENV)/.installed-for-tests $(AZURITE)/node_modules/.installed \
		$(KUSTO)/node_modules/.installed check
	$(RUN)/python -m pytest -n 7 --dist worksteal

check: $(VENV)/.installed-for-tests
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy

bench: $(VENV)/.installed-for-tests $(AZURITE)/node_modules/.installed
	$(RUN)/python -m tests.bench

$(VENV)/bin/python:
	@$(PYTHON) -c '$(TOO_OLD)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements-demo.lock pyproject.toml | $(VENV)/bin/python
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-demo.lock
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/.installed-for-tests: requirements-dev.lock pyproject.toml | $(VENV)/bin/python
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@ $(VENV)/.installed

$(AZURITE)/node_modules/.installed: $(AZURITE)/package-lock.json
	npm ci --silent --ignore-scripts --no-audit --no-fund --prefix $(AZURITE)
	touch $@

$(KUSTO)/node_modules/.installed: $(KUSTO)/package-lock.json
	npm ci --silent --ignore-scripts --no-audit --no-fund --prefix $(KUSTO)
	touch $@

# The pages of docs/ that are made from code.
docs: $(VENV)/.installed-for-tests
	$(RUN)/python -m docs.build_reference

# deploy/azuredeploy.json, from its parts, the columns in schemas/ and the rules.
template: $(VENV)/.installed-for-tests
	$(RUN)/python -m deploy.build.template

# New versions of everything, within what pyproject.toml allows. The lock names no registry.
LOCK := $(RUN)/python -m uv pip compile --quiet --upgrade --generate-hashes --no-header \
	--no-emit-index-url --no-emit-find-links pyproject.toml
lock: $(VENV)/.installed-for-tests
	$(RUN)/python -m pip install --quiet --disable-pip-version-check uv
	$(LOCK) --extra dev -o requirements-dev.lock
	$(LOCK) --extra demo --extra build -c requirements-dev.lock -o requirements-demo.lock
	$(LOCK) --extra build -c requirements-dev.lock -o requirements.lock

wheel: $(VENV)/.installed-for-tests
	$(RUN)/python -m pip wheel --quiet --no-deps --no-build-isolation -w dist .

clean:
	rm -rf $(VENV) $(AZURITE)/node_modules $(KUSTO)/node_modules dist build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
