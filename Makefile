# make quickstart   train the embedded model on the fitness pairs; needs neither GPU nor hub
# make test         lint, types and tests: within 12 minutes on two cores
# make test-all     all tests, the slow ones too, and coverage: within 45 minutes; before a release
# make clients      real clients of other makers ask the server; needs node and npm
# make reproduce    Qwen3-0.6B by fitbot and by TRL, beside base and rules; needs a GPU and the hub
# make lint         lint and types without the tests
# make notebook     run notebooks/reward_margins.ipynb on what make quickstart left, keep its outputs
# make clean        delete caches and build outputs; the environment and checkpoints/ stay
# An environment that is missing, or older than its requirements, is set up first.

PYTHON ?= python3
VENV ?= .venv

BIN := $(VENV)/bin
INSTALL := $(BIN)/pip install -c constraints.txt
REQUIREMENTS := pyproject.toml constraints.txt

CLIENTS := $(VENV)-clients

.PHONY: quickstart test test-all clients reproduce lint docs notebook clean

quickstart: $(VENV)/.fitbot
	$(BIN)/fitbot fit --config configs/quickstart.yaml

# Two at a time, whoever is done takes over from the other. One thread each, and threads that sleep while
# they wait: torch processes that share cores crawl otherwise.
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE HF_HUB_OFFLINE=1 WANDB_MODE=disabled $(BIN)/pytest
TWO := -n 2 --dist worksteal

test: lint
	$(PYTEST) $(TWO)

test-all: lint $(VENV)/.fitbot-all
	$(BIN)/coverage erase
	$(PYTEST) $(TWO) -m 'not gpu and not alone' --cov --cov-report=
	$(PYTEST) -m alone --cov --cov-append --cov-report=
	$(BIN)/coverage report --skip-covered --sort=cover

clients: $(VENV)/.fitbot-dev $(CLIENTS)/.clients
	FITBOT_CLIENTS=$(CLIENTS) $(PYTEST) tests/clients

# ARGS, such as ARGS="--published dpo_train.json dpo_val.json"
reproduce: $(VENV)/.fitbot-dev
	$(BIN)/python benchmarks/reproduce.py --out checkpoints/reproduce $(ARGS)

lint: $(VENV)/.fitbot-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.fitbot-docs
	$(BIN)/python -m sphinx -E -W --keep-going -q docs build/docs
	@echo open build/docs/index.html

RUN := checkpoints/quickstart/summary.json

$(RUN): | $(VENV)/.fitbot
	$(MAKE) quickstart

notebook: $(VENV)/.fitbot-dev $(RUN)
	FITBOT_RUN=checkpoints/quickstart $(BIN)/python notebooks/execute.py

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache unsloth_compiled_cache
	find fitbot tests -type d -name __pycache__ -prune -exec rm -rf {} +

# Torch goes first and alone, so that pip takes a local CPU build where it finds one.
$(VENV)/.fitbot: $(REQUIREMENTS)
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(INSTALL) torch
	$(INSTALL) -e .
	touch $@

$(VENV)/.fitbot-dev: $(VENV)/.fitbot
	$(INSTALL) -e '.[dev]'
	touch $@

$(VENV)/.fitbot-all: $(VENV)/.fitbot-dev
	$(INSTALL) -e '.[dev,health,cpu,ray,tensorboard,notebook,docs]'
	touch $@

$(VENV)/.fitbot-docs: $(VENV)/.fitbot
	$(INSTALL) -e '.[docs]'
	touch $@

$(CLIENTS)/.clients: tests/clients/requirements.txt tests/clients/package.json
	test -x $(CLIENTS)/bin/pip || $(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/pip install -r tests/clients/requirements.txt
	cp tests/clients/package.json $(CLIENTS)
	npm install --no-package-lock --prefix $(CLIENTS)
	touch $@
