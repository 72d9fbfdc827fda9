# make demo and make test do all their own set-up; both work from a bare checkout and a second time.
PYTHON ?= python3
AIRFLOW_2_PYTHON ?= $(shell for p in $(PYTHON) python3.12 python3.11 $(wildcard $(HOME)/.pyenv/versions/3.1[12].*/bin/python); do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && { echo $$p; break; }; done)

# Each of the Airflows that the whole suite does not run on, and a Python for it, so that these differ as well.
AIRFLOWS := 3.0.6 3.1.8 3.2.2
PYTHON_FOR_3.0.6 := 3.11
PYTHON_FOR_3.1.8 := 3.12
PYTHON_FOR_3.2.2 := 3.13
find-python = $(shell for p in python$(1) $(PYTHON) $(wildcard $(HOME)/.pyenv/versions/$(1).*/bin/python); do \
	$$p -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] != "$(1)")' 2>/dev/null && { echo $$p; break; }; done)
# What users copy, and what is otherwise from one Airflow to the next.
TESTS_OF_AIRFLOWS := tests/support/test_dag_runs.py tests/test_readme.py tests/examples tests/hooks \
	tests/operators/test_tries.py

# What needs no Airflow is tested on each of these Pythons. The simulation knows nothing of Airflow either: all of it is
# tested once, with the newest Airflow, and here the parts that are quick.
PYTHONS := 3.12 3.13
TESTS_OF_PYTHONS := tests/api tests/surveys tests/sandbox tests/simulation/test_found.py \
	tests/simulation/test_outcome_tables.py

# What mostly waits, for Airflow's processes and for time to go by, and what is computed without Airflow: tested beside all
# else where there is more than one processor (make -j2 test).
TESTS_THAT_WAIT := tests/system tests/demo tests/simulation

VENV := .venv
VENV_2 := .venv-airflow-2.11

.PHONY: help demo bench crashes test test-airflow-3 test-airflow-3-waiting test-airflow-3-others test-airflow-2 test-airflows $(AIRFLOWS:%=test-airflow-%) test-pythons $(PYTHONS:%=test-python-%) mariadb simulation lint format constraints clean

help:  ## show this
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

demo: $(VENV)/.ready  ## send 25,000 surveys to a local sandbox, through Airflow
	@$(VENV)/bin/python demo/run.py

test: lint test-airflow-3 test-airflow-2  ## lint, types, and the tests on Airflow 3.3.2 and 2.11.2

test-airflow-3: test-airflow-3-waiting test-airflow-3-others

test-airflow-3-waiting: $(VENV)/.ready mariadb
	@echo "== Tests on Airflow 3.3.2: $(TESTS_THAT_WAIT)"
	@$(VENV)/bin/python -m pytest $(TESTS_THAT_WAIT)

test-airflow-3-others: $(VENV)/.ready mariadb
	@echo "== Tests on Airflow 3.3.2: all others"
	@$(VENV)/bin/python -m pytest $(TESTS_THAT_WAIT:%=--ignore %)

test-airflow-2: $(VENV_2)/.ready mariadb
	@if [ -x $(VENV_2)/bin/python ]; then echo "== Tests on Airflow 2.11.2"; $(VENV_2)/bin/python -m pytest --ignore tests/simulation; fi

test-airflows: $(AIRFLOWS:%=test-airflow-%)  ## the README's DAGs, the examples and what differs, on Airflow 3.0, 3.1 and 3.2

$(AIRFLOWS:%=test-airflow-%): test-airflow-%: .venv-airflow-%/.ready
	@if [ -x .venv-airflow-$*/bin/python ]; then echo "== Tests on Airflow $*, Python $(PYTHON_FOR_$*)"; \
		.venv-airflow-$*/bin/python -m pytest $(TESTS_OF_AIRFLOWS); fi

test-pythons: $(PYTHONS:%=test-python-%)  ## what needs no Airflow, on Python 3.12 and 3.13, with its coverage

# Coverage by sys.monitoring, which costs next to nothing; the floor is in pyproject.toml.
$(PYTHONS:%=test-python-%): test-python-%: .venv-python-%/.ready
	@if [ -x .venv-python-$*/bin/python ]; then echo "== What needs no Airflow, on Python $*"; \
		export COVERAGE_FILE=.venv-python-$*/coverage COVERAGE_CORE=sysmon && \
		.venv-python-$*/bin/python -m coverage run -m pytest -q $(TESTS_OF_PYTHONS) && \
		.venv-python-$*/bin/python -m coverage report --skip-covered; fi

mariadb:
	@PATH="$$PATH:/usr/sbin"; command -v mariadbd >/dev/null && command -v my_print_defaults >/dev/null || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "== Installing MariaDB's server by apt-get, for the tests (once)" && export DEBIAN_FRONTEND=noninteractive && \
		apt-get update -qq && \
		apt-get install -qq -y --no-install-recommends mariadb-server-core mariadb-client-core >/dev/null; \
	else \
		echo "== NOT TESTED on MariaDB: install mariadb-server-core and mariadb-client-core, or your system's mariadb-server"; \
	fi

bench: $(VENV)/.ready  ## speed and memory beside what people write by hand; ROWS=10000000 for more, BENCH=--quick for less
	@$(VENV)/bin/python -m benchmarks $(if $(ROWS),--rows $(ROWS)) $(BENCH)

crashes: $(VENV)/.ready  ## kill campaigns, ours and one written by hand, and count who is texted twice; CRASHES=20 for more
	@CRASHES=$(or $(CRASHES),8) $(VENV)/bin/python -m pytest -q tests/system/test_crashes.py

simulation: $(VENV)/.ready  ## 100,000 simulated histories, a tenth as many with a table, and every double crash; HISTORIES=... for more
	@echo "== Simulated histories"
	@$(VENV)/bin/python -m tests.simulation --processes 2 --tables --histories $(or $(TABLES),10000)
	@$(VENV)/bin/python -m tests.simulation --processes 2 --histories $(or $(HISTORIES),100000) --doubles --every $(or $(EVERY),1)

lint: $(VENV)/.ready  ## ruff and mypy
	@echo "== Lint and types"
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/mypy

format: $(VENV)/.ready  ## format the code
	@$(VENV)/bin/ruff check --fix . && $(VENV)/bin/ruff format .

$(VENV)/.ready: pyproject.toml constraints/airflow-3.3.2.txt
	@echo "== Installing Airflow 3.3.2 and the provider into $(VENV) (a minute or two, once)"
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; set PYTHON=...") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv --clear $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check uv
	@$(VENV)/bin/uv pip install --python $(VENV)/bin/python --constraint constraints/airflow-3.3.2.txt \
		'apache-airflow==3.3.2' --editable '.[test,lint]' 2>&1 | grep -v '^ [+~-] '
	@$(VENV)/bin/python -c 'import airflow_provider_8x8' && touch $@

$(VENV_2)/.ready: pyproject.toml constraints/airflow-2.11.2.txt
	@if [ -z "$(AIRFLOW_2_PYTHON)" ]; then \
		echo "== NOT TESTED on Airflow 2.11.2: it needs Python 3.11 or 3.12; set AIRFLOW_2_PYTHON=..."; mkdir -p $(VENV_2); \
	else \
		echo "== Installing Airflow 2.11.2 and the provider into $(VENV_2) (a minute or two, once)" && \
		$(AIRFLOW_2_PYTHON) -m venv --clear $(VENV_2) && \
		$(VENV_2)/bin/python -m pip install --quiet --disable-pip-version-check uv && \
		{ $(VENV_2)/bin/uv pip install --python $(VENV_2)/bin/python --constraint constraints/airflow-2.11.2.txt \
			'apache-airflow==2.11.2' --editable '.[test]' 2>&1 | grep -v '^ [+~-] '; } && \
		$(VENV_2)/bin/python -c 'import airflow_provider_8x8' && touch $@; \
	fi

$(AIRFLOWS:%=.venv-airflow-%/.ready): .venv-airflow-%/.ready: constraints/airflow-%.txt pyproject.toml | $(VENV)/.ready
	@if [ -z "$(call find-python,$(PYTHON_FOR_$*))" ]; then \
		echo "== NOT TESTED on Airflow $*: Python $(PYTHON_FOR_$*) is not on this machine"; mkdir -p .venv-airflow-$*; \
	else \
		echo "== Installing Airflow $* and the provider into .venv-airflow-$* (a minute or two, once)" && \
		$(VENV)/bin/uv venv --quiet --clear --python "$(call find-python,$(PYTHON_FOR_$*))" .venv-airflow-$* && \
		{ $(VENV)/bin/uv pip install --python .venv-airflow-$*/bin/python --constraint constraints/airflow-$*.txt \
			'apache-airflow==$*' --editable '.[test]' 2>&1 | grep -v '^ [+~-] '; } && \
		.venv-airflow-$*/bin/python -c 'import airflow_provider_8x8' && touch $@; \
	fi

$(PYTHONS:%=.venv-python-%/.ready): .venv-python-%/.ready: constraints/airflow-3.3.2.txt pyproject.toml | $(VENV)/.ready
	@if [ -z "$(call find-python,$*)" ]; then \
		echo "== NOT TESTED on Python $*: it is not on this machine"; mkdir -p .venv-python-$*; \
	else \
		$(VENV)/bin/uv venv --quiet --clear --python "$(call find-python,$*)" .venv-python-$* && \
		$(VENV)/bin/uv pip install --quiet --python .venv-python-$*/bin/python --constraint constraints/airflow-3.3.2.txt \
			jinja2 msgspec pendulum requests tenacity sqlalchemy pytest hypothesis jsonschema cryptography coverage greenlet && \
		touch $@; \
	fi

# The .in files say what has to be older than the newest, and why.
constraints: $(VENV)/.ready  ## renew the pinned versions
	@for v in 2.11.2 $(AIRFLOWS) 3.3.2; do $(VENV)/bin/uv pip compile constraints/airflow-$$v.in pyproject.toml --extra test \
		$$([ $$v = 3.3.2 ] && echo --extra lint) --universal --python-version 3.11 --no-annotate --no-header --quiet --upgrade \
		--output-file constraints/airflow-$$v.txt; done

clean:  ## remove what the other targets made
	rm -rf .venv .venv-* dist .pytest_cache .mypy_cache .ruff_cache
