# All targets work in a fresh checkout: they make .venv first. `make` alone lists them.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# Where the CPU builds of torch live; the constraints file says which one.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4
DEMO ?= tests/samples/text.txt
BENCH ?= tests/samples/text.txt tests/samples/table.csv tests/samples/data.json

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow regress bench fuzz fuzz-atheris faults portability docs lint fmt \
	type check build clean

## help: list the targets
help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST) | awk -F': ' '{ printf "%-12s %s\n", $$1, $$2 }'

## setup: make .venv with everything installed (torch for the CPU)
setup: $(READY)

# torch comes first and alone, so that only this one package is looked for in the extra index.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-deps --retries 1 --timeout 30 \
		--extra-index-url $(TORCH_INDEX) -c constraints.txt torch
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

## demo: compress, list, restore and compare a sample file (DEMO=FILE for your own)
demo: $(READY)
	@rm -rf build/demo && mkdir -p build/demo
	$(BIN)/mbz compress -v -o build/demo/sample.mbz $(DEMO)
	$(BIN)/mbz list build/demo/sample.mbz
	$(BIN)/mbz decompress -v -o build/demo/sample build/demo/sample.mbz
	cmp $(DEMO) build/demo/sample && echo "demo: the restored file is identical"

## test: run the tests, without the slow ones
test: $(READY)
	@echo compiled once, not by every worker | $(BIN)/mbz compress -0 -q >/dev/null
	$(TESTS) -m "not slow"

## test-slow: run all tests
test-slow: $(READY)
	$(TESTS)

## regress: measure CORPUS (a folder) against the peers into tests/regress/results.csv
regress: $(READY)
	$(BIN)/python benchmarks/regress.py --out tests/regress/results.csv \
		$(if $(PEERS),--peers $(PEERS)) $(CORPUS)

## fuzz: damage ARCHIVES archives (20000) and MODELS model folders (2000), and look what comes out
fuzz: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz.py \
		$(if $(ARCHIVES),--archives $(ARCHIVES)) $(if $(MODELS),--models $(MODELS))

## fuzz-atheris: let atheris (pip install atheris) look for odd archives, for SECONDS (300)
fuzz-atheris: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz_atheris.py build/atheris \
		-max_total_time=$(or $(SECONDS),300)

## faults: kill compress, restore and train at COUNT (100) random moments each, and look what is left
faults: $(READY)
	$(BIN)/python tests/kill.py $(if $(COUNT),--count $(COUNT))

## portability: restore the golden archives on emulated arm64 and s390x (root, debootstrap, qemu-user-static)
PORTABLE := $(basename $(notdir $(wildcard tests/vectors/v*/good/*.mbz))) lean-1
portability:
	tests/portability.sh arm64 build/portability $(PORTABLE)
	tests/portability.sh s390x build/portability $(PORTABLE)

## bench: measure BENCH (files) against the installed peers into docs/bench
bench: $(READY)
	@mkdir -p build docs/bench
	$(BIN)/mbz bench -f --runs 3 --json --plot docs/bench/speed.png $(BENCH) > build/bench.json
	$(BIN)/python benchmarks/bench_page.py build/bench.json > docs/bench/README.md

## docs: write docs/cli.md and docs/mbz.1 from the commands
docs: $(READY)
	$(BIN)/python docs/commands.py

## lint: check style and formatting
lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

## fmt: format the code
fmt: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

## type: check types
type: $(READY)
	$(BIN)/mypy

## check: all that must pass before a commit
check: lint type test

## build: build the wheel into dist/
build: $(READY)
	$(BIN)/pip wheel --quiet --no-deps -w dist .

## clean: remove everything that was built, .venv too
clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
