# The commands people and CI type. Each makes .venv itself; a machine needs Python >= 3.11 with pip and venv, and make.
#
#   make setup                     .venv with the tested versions of constraints.txt
#   make runtimes                  the eight runtimes, transformers and Ray besides, 2 GB; `make test` and `make bench` see to it themselves
#   make demo                      depth of a photograph, without torch; MODEL=NAME or `make demo -- --model NAME` choose the net,
#                                  PHOTO=FILE the photograph, OUT=FOLDER where the pictures go;
#                                  everything after -- goes to `leadline predict`
#   make test                      the fast tests, 5 minutes on two cores; SLOW=1 the slow ones too, half an hour;
#                                  TESTS="-k word" any pytest arguments
#   make check                     ruff, format and types
#   make bench                     every benchmark of benchmarks/
#   make results                   docs/results.md and README's table, from the reports in benchmarks/results/
#   make fuzz                      damaged and hostile files for everything that is read; SEEDS=0:10 ten times as many,
#                                  FUZZ="--only images" or any other arguments of `python -m fuzz --help`
#   make docs                      links of the documents, Python snippets of README
#
# Variables: PYTHON (which Python makes .venv), VENV (where). Where pip takes torch from is pip's own business, for example
# PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu for the small build without CUDA.

PYTHON ?= python3
VENV ?= .venv
MODEL ?= fastdepth_small
OUT ?= out/demo
SEEDS ?= 0:1
BIN := $(VENV)/bin
READY := $(VENV)/ready
ALL := $(VENV)/ready-with-runtimes
DEMO := $(VENV)/ready-for-demo
RUNTIMES := exports,teachers,label
PYTEST := $(BIN)/python -m pytest
ENOUGH = import sys; sys.exit(sys.version_info < (3, 11) and 'leadline needs Python >= 3.11; try: make PYTHON=python3.11')
# Two processes of one thread each; tests/conftest.py says which tests stay together.
TWO = OMP_NUM_THREADS=1 $(PYTEST) -n 2 --dist loadscope --no-loadscope-reorder $(if $(SLOW),-m "slow or not slow")
CARRIED = $(BIN)/python -c "import pathlib, skimage; print(pathlib.Path(skimage.__file__).parent / 'data/motorcycle_left.png')"

.DEFAULT_GOAL := setup
.PHONY: setup runtimes demo test check bench results fuzz docs

# `make demo -- --model NAME`: make takes the words after -- for targets, and those with = for variables.
ifeq ($(firstword $(MAKECMDGOALS)),demo)
  WORDS := $(wordlist 2,$(words $(MAKECMDGOALS)),$(MAKECMDGOALS))
  ARGS := $(WORDS) $(filter --%,$(MAKEOVERRIDES))
  ifneq ($(WORDS),)
    .PHONY: $(WORDS)
    $(eval $(WORDS):;@:)
  endif
endif
NET = $(if $(filter --model --model=% -m,$(ARGS)),,--model $(MODEL))

setup: $(READY)

$(READY): EXTRAS := dev,demo
$(DEMO): EXTRAS := onnx,demo
$(READY) $(DEMO): pyproject.toml constraints.txt
	@$(PYTHON) -c "$(ENOUGH)"
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

runtimes: $(ALL)

$(ALL): $(READY)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,demo,$(RUNTIMES)]'
	@touch $@

demo: $(DEMO)
	@photo="$(PHOTO)"; $(BIN)/leadline predict "$${photo:-$$($(CARRIED))}" $(NET) --out $(OUT) --save png16,side $(ARGS)
	@echo "The pictures are in $(OUT):" && ls $(OUT)

test: $(ALL)
ifdef TESTS
	$(PYTEST) $(if $(SLOW),-m "slow or not slow") $(TESTS)
else
# The runtimes apart: data loaders fork, and a process that has loaded every runtime must not.
	$(TWO) --ignore tests/runtime
	$(TWO) tests/runtime
endif

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(ALL)
	@for file in $(filter-out %/make_results.py %/result_tables.py,$(wildcard benchmarks/*.py)); do echo "== $$file"; $(BIN)/python $$file || exit 1; done

results: $(READY)
	$(BIN)/python -m benchmarks.make_results

fuzz: $(ALL)
	PYTHONPATH=.:tests $(BIN)/python -m fuzz --seeds $(SEEDS) $(FUZZ)

docs: $(READY)
	$(PYTEST) tests/test_docs.py -m "slow or not slow"
