# The two commands of this project are `make bench` and `make test`; both prepare .venv by themselves.

PYTHON ?= python3
DEVICE ?= auto
SUITE ?= smoke
BUDGET ?= 60m
N ?= 100000
SEED ?= 0
JOBS ?= auto
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# one torch thread a process: two beside a busy neighbour are slower than one
PYTEST = OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) --maxprocesses 8 --dist worksteal --benchmark-disable

export OMP_WAIT_POLICY ?= PASSIVE
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONUNBUFFERED := 1

.PHONY: help setup bench test test-slow check-results fuzz kills golden portable nightly nightly-speed perf lint docs \
	coverage screenshots clean

help:
	@echo "make bench      set up, run suite smoke (SUITE=...) and print its leaderboard; DEVICE=auto|cpu|cuda"
	@echo "make test       set up and run all quick tests in JOBS=auto processes (0: in one); make test-slow runs the slow"
	@echo "make check-results  whether the committed tables, pages and claims follow from the committed records"
	@echo "make fuzz       every reader of files against N=100000 changed files from SEED=0 on; TARGETS=torch for some"
	@echo "make golden     rows of the golden cells again, to be committed where they were meant to change"
	@echo "make portable   digests of portable numerics against the committed ones; with QEMU also on emulated processors"
	@echo "make kills      commands killed N=60 times at random moments from SEED=0 on; nothing may be lost or half-written"
	@echo "make perf       speed of the library beside the naive way; make lint; make coverage"
	@echo "make docs       the documentation as pages, under build/docs; links are checked"
	@echo "make screenshots  pictures of the leaderboard page for docs/images; takes Chromium"
	@echo "make nightly    suite nightly (nightly-cpu without a GPU) within BUDGET=60m, against the accepted baseline"
	@echo "make nightly-speed  speed beside the baseline's commit (BASE=...), in turn"
	@echo "make setup      prepare .venv only; make clean removes it"

$(STAMP): pyproject.toml setup.py constraints.txt
	@echo "setting up $(VENV) (under a minute with a warm cache) ..."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --progress-bar off -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

setup: $(STAMP)

bench: setup
	$(BIN)/cwwm-bench run $(SUITE) --device $(DEVICE)

nightly: setup
	$(BIN)/cwwm-bench nightly --device $(DEVICE) --budget $(BUDGET) $(if $(NIGHTS),--home $(NIGHTS))

nightly-speed: setup
	$(BIN)/cwwm-bench speed $(BASE)

test: setup
	$(PYTEST) -m "not slow and not results"

test-slow: setup
	$(BIN)/pytest -m slow

check-results: setup
	$(PYTEST) -m "results and not slow"

fuzz: setup
	N=$(N) SEED=$(SEED) OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz $(TARGETS)

golden: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.golden

portable: setup
	$(BIN)/python -m tests.portable
kills: N = 60
kills: setup
	N=$(N) SEED=$(SEED) OMP_NUM_THREADS=1 $(BIN)/python -m tests.kills

screenshots: setup
	CWWM_BROWSER_TESTS=required CWWM_SCREENSHOTS_OF=encodings $(BIN)/pytest tests/bench/page/test_screenshots.py
	mkdir -p docs/images
	cp results/runs/page/leaderboard-*.png docs/images/

coverage: setup
	$(BIN)/pytest -m "not slow and not results" --cov=cwwm --cov=bench --cov-report=term-missing:skip-covered

perf: setup
	DEVICE=$(DEVICE) TABLE=results/runs/speed.md $(BIN)/pytest bench/perf

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/actionlint
	$(BIN)/oxlint --deny-warnings bench/leaderboard/page/js bench/leaderboard/page/boot.js

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) results/runs build *.egg-info
