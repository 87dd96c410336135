# Every developer command. `make` alone lists them; CONTRIBUTING.md explains them.

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Set by some IDEs and shells; would make pip and Python look elsewhere.
unexport PYTHONHOME

VENV := .venv
PIP := $(VENV)/bin/python -m pip
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
REFERENCE ?= $(CURDIR)/.venv-reference
# The torch that the demo and the tests are tried with. Any from 2.0 on works: TORCH='torch>=2.0'.
TORCH ?= $(shell cat requirements/torch.txt)
PYTEST_ARGS ?=

# The first of these that is Python 3.10 or newer and can make virtual environments.
PYTHON ?= $(shell for candidate in python3 python3.13 python3.12 python3.11 python3.10; do \
	"$$candidate" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 10))' \
	>/dev/null 2>&1 && { echo "$$candidate"; break; }; done)

RUST_SOURCES := Cargo.toml Cargo.lock $(shell find crates -type f \( -name '*.rs' -o -name Cargo.toml \))
PYTHON_SOURCES := pyproject.toml $(shell find python tools -type f -name '*.py*' -not -name '*.pyc')

say = printf '\n\033[1m==> %s\033[0m\n' "$(1)"

.PHONY: help
help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | sed -E 's/^([a-z-]+):.*## /\1|/' \
	  | while IFS='|' read -r name text; do printf '  make %-14s %s\n' "$$name" "$$text"; done

# --- set-up: stamps in the environment say what it holds -----------------------------------------

.PHONY: toolchain
toolchain:
	@command -v cargo >/dev/null || { echo "tserve is built with Rust: install it from https://rustup.rs"; exit 1; }
	@command -v cc >/dev/null || { echo "tserve needs a C compiler, for example: apt-get install gcc"; exit 1; }

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "tserve needs Python 3.10 or newer with the venv module; name one: make PYTHON=/path/to/python3"; exit 1; }
	@$(call say,Creating $(VENV) with $$($(PYTHON) --version))
	$(PYTHON) -m venv $(VENV)
	touch $@

# pip falls silent while it unpacks torch, so say how long that may take.
$(VENV)/.torch: $(VENV)/.made requirements/torch.txt
	@$(call say,Installing $(TORCH) and scikit-learn (some minutes the first time))
	@$(PIP) install '$(TORCH)' 'numpy>=1.24,<3' 'scikit-learn>=1.3,<2' 'pillow>=10,<14' || { \
	  echo; echo "pip could not install $(TORCH). Try another version: make demo TORCH='torch>=2.0'"; exit 1; }
	touch $@

# What the picture handlers and explanations need; torch decides which torchvision fits.
$(VENV)/.vision: $(VENV)/.torch requirements/vision.txt
	@$(call say,Installing torchvision and captum)
	@$(PIP) install --quiet '$(TORCH)' --requirement requirements/vision.txt || \
	  echo "no torchvision fits $(TORCH) here; the tests of picture handlers will be skipped"
	touch $@

# `pip install .` as a user does it; cargo runs first only because pip hides its progress.
$(VENV)/.release: $(VENV)/.made $(RUST_SOURCES) $(PYTHON_SOURCES) | toolchain
	@$(call say,Building the server in Rust (release profile; some minutes the first time))
	cargo build --locked --release --package tserve-frontend --bin tserve
	@$(call say,pip install .)
	$(PIP) install .
	rm -f $(VENV)/.editable
	touch $@

# The same as an editable install with the development profile and the development tools.
$(VENV)/.editable: $(VENV)/.made $(RUST_SOURCES) pyproject.toml | toolchain
	@$(call say,Building the server in Rust (development profile))
	cargo build --locked --package tserve-frontend --bin tserve
	@$(call say,pip install --editable '.[dev]')
	$(PIP) install --quiet 'maturin>=1.14,<2'
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(PIP) install --no-build-isolation --editable '.[dev]'
	rm -f $(VENV)/.release
	touch $@

# The real TorchServe, to compare with. torch comes from our own environment.
$(REFERENCE)/.made: $(VENV)/.torch tests/compat/requirements.txt
	@command -v java >/dev/null || { echo "TorchServe needs Java 11 or newer"; exit 1; }
	@$(call say,Installing TorchServe 0.12 to compare with)
	$(VENV)/bin/python -m venv $(REFERENCE)
	$(VENV)/bin/python tools/borrow_packages.py $(REFERENCE)
	$(REFERENCE)/bin/python -m pip install --requirement tests/compat/requirements.txt
	touch $@

.PHONY: setup
setup: $(VENV)/.editable $(VENV)/.torch $(VENV)/.vision ## Set up the development environment in .venv

.PHONY: reference
reference: $(REFERENCE)/.made ## Install the real TorchServe beside it, for compat and bench

# --- use ---------------------------------------------------------------------------------------

.PHONY: demo
demo: $(VENV)/.torch $(VENV)/.release ## Train, pack and serve a digit classifier; ONCE=1 ends by itself
	@$(VENV)/bin/python examples/digits/demo.py $(if $(ONCE),--once)

# --- test --------------------------------------------------------------------------------------

.PHONY: test
test: setup optional-reference ## Set everything up and run all tests
	@$(call say,Rust tests)
	cargo test --locked --workspace
	@$(call say,Python tests)
	TSERVE_BIN=$(TARGET)/debug/tserve TSERVE_REFERENCE_VENV=$(REFERENCE) \
	  $(VENV)/bin/python -m pytest $(PYTEST_ARGS)

# Without Java, or without a network, the comparison with TorchServe is skipped, and pytest says so.
.PHONY: optional-reference
optional-reference: $(VENV)/.torch
	@$(MAKE) --no-print-directory reference || echo "the tests marked 'torchserve' will be skipped"

.PHONY: compat
compat: setup reference ## Compare answers with the real TorchServe, request by request
	TSERVE_BIN=$(TARGET)/debug/tserve TSERVE_REFERENCE_VENV=$(REFERENCE) \
	  $(VENV)/bin/python -m pytest tests/compat $(PYTEST_ARGS)

.PHONY: fault
fault: setup ## Fault injection, the minute-long runs included
	TSERVE_BIN=$(TARGET)/debug/tserve TSERVE_SLOW=1 TSERVE_STATEFUL=4000 \
	  $(VENV)/bin/python -m pytest tests/fault tests/management --timeout 300 $(PYTEST_ARGS)

.PHONY: model-check
model-check: toolchain ## Check the lock-free structures under every interleaving (loom)
	LOOM_MAX_PREEMPTIONS=$${LOOM_MAX_PREEMPTIONS:-2} RUSTFLAGS="--cfg loom" \
	  CARGO_TARGET_DIR=$(TARGET)/loom cargo test --locked --release \
	  --package tserve-batcher --package tserve-shm --test loom

CONFORMANCE ?= ../shared/conformance
# What is built; AREAS= runs everything.
AREAS ?= http predict returns respond errors handlers versions batching recovery cli config archiver \
  startup queue timeout default register scale describe list unregister snapshot token openapi \
  model-api-off grpc-management default-handlers explain envelope metrics logs sequence continuous async kserve oip
CONFORMANCE_RUN = .bench/conformance/bin/python $(CONFORMANCE)/run.py $(AREAS:%=--area %)

.PHONY: conformance
conformance: $(VENV)/.release $(VENV)/.torch ## Run the conformance recording, where it lies beside the checkout
	@test -d $(CONFORMANCE) || { echo "no conformance harness at $(CONFORMANCE); set CONFORMANCE=..."; exit 1; }
	test -d .bench/conformance || $(VENV)/bin/python -m venv .bench/conformance
	.bench/conformance/bin/python -m pip install --quiet --requirement $(CONFORMANCE)/requirements.txt
	$(CONFORMANCE_RUN) --server '$(CURDIR)/$(VENV)/bin/tserve {args}' \
	  --archiver '$(CURDIR)/$(VENV)/bin/tserve-archiver' --python '$(CURDIR)/$(VENV)/bin/python' \
	  --record .bench/conformance.json --verbose
	$(CONFORMANCE_RUN) --version-string "$$($(VENV)/bin/tserve --version | awk '{print $$NF}')" \
	  --compare $(CONFORMANCE)/golden.json.gz .bench/conformance.json

# What the benchmarks run: release builds of the server and the load generator.
.PHONY: bench-build
bench-build: $(VENV)/.release $(VENV)/.torch
	cargo build --locked --release --package tserve-loadgen

# The peers; what does not install here is left out of the comparison with a line that says so.
.PHONY: bench-peers
bench-peers: $(VENV)/.torch optional-reference
	$(VENV)/bin/python benches/run.py install

BENCH = $(VENV)/bin/python benches/run.py
BENCH_OPTIONS = --reference $(REFERENCE) --loadgen $(TARGET)/release/tserve-loadgen $(BENCH_ARGS)

.PHONY: bench
bench: bench-build bench-peers ## tserve and its peers under the same loads: table, plot, verdicts
	$(BENCH) compare $(BENCH_OPTIONS)

.PHONY: bench-open
bench-open: bench-build ## Open loop at 70 % of the own capacity for five minutes
	$(BENCH) open $(BENCH_OPTIONS)

.PHONY: bench-idle
bench-idle: bench-build ## Memory and readiness of an idle server, and with 50 models
	$(BENCH) idle $(BENCH_OPTIONS)

.PHONY: bench-scaling
bench-scaling: bench-build ## Throughput with 1, 2, 4, 8 workers of a sleeping handler
	$(BENCH) scaling $(BENCH_OPTIONS)

.PHONY: bench-observed
bench-observed: bench-build ## The no-op with all metrics, logs, timing and traces on, and with all off
	$(BENCH) observed $(BENCH_OPTIONS)

.PHONY: bench-locust
bench-locust: bench-build bench-peers ## benches/locustfile.py against a server of its own, half a minute
	$(BENCH) locust $(BENCH_OPTIONS)

.PHONY: bench-v2
bench-v2: bench-build optional-reference ## The Open Inference Protocol with 1 MiB tensors beside TorchServe, a minute
	$(VENV)/bin/python -m pip install --quiet grpcio grpcio-tools
	TSERVE_BIN=$(TARGET)/release/tserve $(VENV)/bin/python benches/v2.py --reference $(REFERENCE)

.PHONY: bench-micro
bench-micro: toolchain ## Criterion benchmarks of queue, rings, arena, dispatcher and HTTP adapter
	cargo bench --locked --package tserve-batcher --package tserve-shm --package tserve-frontend \
	  --features tserve-frontend/bench --bench '*'

.PHONY: cost-build
cost-build: toolchain
	cargo test --locked --release --package tserve-frontend --test cost --no-run

.PHONY: cost
cost: cost-build ## Count allocations, instructions and system calls per request (valgrind, strace)
	cargo test --locked --release --package tserve-frontend --test cost

# --- look after ---------------------------------------------------------------------------------

.PHONY: lint
lint: setup ## Formatters, linters, type checks, stub check, dependency rules
	@$(call say,Rust: rustfmt and clippy)
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets --features tserve-frontend/bench -- -D warnings
	@$(call say,Python: ruff mypy stubtest)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	PYTHONPATH=python $(VENV)/bin/python -m mypy.stubtest tserve_worker._native
	@$(call say,Dependency rules)
	$(VENV)/bin/python -m pytest --quiet tests/structure

.PHONY: fmt
fmt: setup ## Format everything
	cargo fmt --all
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

.PHONY: image
image: $(VENV)/.torch ## Make docs/images/demo.png anew from a real run of the demo
	$(MAKE) --no-print-directory demo ONCE=1 | tee .demo.txt
	$(VENV)/bin/python tools/terminal_picture.py .demo.txt docs/images/demo.png
	rm -f .demo.txt

.PHONY: clean
clean: ## Remove what these commands made, the environments included
	rm -rf $(VENV) $(REFERENCE) .bench .demo target
