# Every target sets up what it needs: Python 3.11 or newer with venv, and git. What is missing is said with the remedy.
SHELL := /bin/sh
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Suites that must not be skipped, e.g. REQUIRE=distribution (CI sets it).
REQUIRE ?=
# A folder with bundles of public projects, to verify them offline; without it those tests are skipped.
PUBLIC_DATA ?=
# Not empty: every variant and all examples, as CI does (make test THOROUGH=1).
THOROUGH ?=
WORKERS ?= 4
FUZZER_DIR := .fuzz/lib
FUZZER := $(FUZZER_DIR)/.installed

SEEDS ?= 300
STEPS ?= 0

.PHONY: demo test check bench simulate soak chaos fuzz format lock clean help

help: ## What there is
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile

demo: $(STAMP) ## Run the main job on this machine, on real parts
	@$(BIN)/ameide demo $(DEMO)

test: $(STAMP) ## All tests, those of a missing outside program skipped; THOROUGH=1 adds variants and examples, as CI does
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -q --require-suites "$(REQUIRE)" \
		$(if $(THOROUGH),--thorough) $(if $(PUBLIC_DATA),--public-data="$(PUBLIC_DATA)")

check: $(STAMP) ## Lint, format, types and import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(STAMP) ## Every figure of the README, as ratios in one run
	@$(BIN)/python -m bench

simulate: $(STAMP) ## The deterministic simulation: SEEDS=n runs from seed START (0) on, or STEPS=n steps
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) --steps $(STEPS) --start $(or $(START),0)

soak: $(STAMP) ## Longer runs: all tests thoroughly, many more simulation seeds, each rule broken once, kill -9 at every boundary, every race of a publish, chaos
	@$(MAKE) --no-print-directory test THOROUGH=1
	@$(BIN)/python -m tests.simulation --steps 1000000
	@$(BIN)/python -m tests.simulation --mutations --seeds 10000
	@$(BIN)/python -m tests.faults --kills 200
	@$(BIN)/python -m tests.publishing
	@$(BIN)/python -m tests.publishing --mutations
	@$(BIN)/python -m tests.chaos --minutes 20

chaos: $(STAMP) ## Every part as a process behind a fault proxy, killed and started again (Linux; MINUTES=20 SEED=n)
	@$(BIN)/python -m tests.chaos --minutes $(or $(MINUTES),20) $(if $(SEED),--seed $(SEED)) $(if $(PLANT),--plant $(PLANT))

fuzz: $(FUZZER) ## Fuzz every parser of outside bytes for a minute each (Linux x86_64; FUZZ="--seconds 600 marker")
	@PYTHONPATH=$(FUZZER_DIR) $(BIN)/python -m tests.fuzz $(FUZZ)

format: $(STAMP) ## Rewrite the sources in the project's format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: ## Resolve the dependencies anew (needs uv)
	uv pip compile --universal --generate-hashes --no-header --group dev pyproject.toml -o requirements.lock
	uv pip compile --universal --generate-hashes --no-header -c requirements.lock pyproject.toml -o requirements-run.lock
	uv pip compile --universal --generate-hashes --no-header -c requirements.lock --group build \
		-o requirements-build.lock

clean:
	rm -rf $(VENV) .fuzz demo build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(FUZZER): $(STAMP) tools/fuzz-requirements.lock
	@rm -rf $(FUZZER_DIR)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
		--target $(FUZZER_DIR) -r tools/fuzz-requirements.lock || \
		{ echo "fuzz: Atheris could not be installed; it has wheels for Linux x86_64 alone" >&2; exit 1; }
	@touch $(FUZZER)

$(STAMP): requirements.lock pyproject.toml tools/setup.sh
	@sh tools/setup.sh $(VENV)
	@touch $(STAMP)
