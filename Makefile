# make demo   builds Millibar and shows it at work, in the shell and over Arrow Flight
# make test   runs all tests
# make wheel  builds the Python package and installs it into the private environment
# make bench  measures against the peers (see docs/performance.md)
#
# Each does its own set-up: scripts/setup finds or installs what is missing.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory

# Cargo's output; keep it outside the clone to share it between clones.
export CARGO_TARGET_DIR ?= $(CURDIR)/target
# Private Python environment: cmake where the system's is too old, pyarrow for the demo, the reference for tests.
export MILLIBAR_VENV ?= $(CURDIR)/.venv
export PATH := $(MILLIBAR_VENV)/bin:$(PATH)
# libclang generates zfp's bindings. The one that setup installs brings no headers: the compiler's serve.
export LIBCLANG_PATH ?= $(MILLIBAR_VENV)/lib
export BINDGEN_EXTRA_CLANG_ARGS ?= -idirafter $(shell cc -print-file-name=include 2>/dev/null)
export MILLIBAR := $(CARGO_TARGET_DIR)/release/millibar

.PHONY: demo build wheel test test-rust test-python lint bench bench-parts setup clean

demo: build
	@scripts/setup pyarrow
	@scripts/demo

build: setup
	@cargo build --release --locked

setup:
	@scripts/setup

test: setup lint test-rust test-python

lint:
	@scripts/check-layers
	@scripts/check-features
	@cargo fmt --all --check
	@cargo clippy --release --locked --workspace --all-targets -- -D warnings
	@cargo clippy --release --locked --no-default-features --lib -- -D warnings

test-rust: setup
	@scripts/test-rust

wheel: build
	@scripts/setup test
	@scripts/wheel

test-python: wheel
	@python -m mypy --config-file python/pyproject.toml
	@python -m pytest -q tests/python python/tests

# All tables and plots of docs/performance.md; an error where a bar is missed.
bench: wheel
	@scripts/setup bench
	@cargo bench --locked --bench bare --bench layouts --no-run
	@missed=0; for part in peers scaling shapes layouts flight xarray_reads; do \
	  python benches/$$part.py $$([ $$part = scaling ] || echo --write) || missed=1; done; exit $$missed

# What kernels and codecs cost by themselves.
bench-parts: build
	@scripts/setup bench
	@python benches/make_codec_fields.py
	@cargo bench --locked

clean:
	@cargo clean
	@rm -rf "$(MILLIBAR_VENV)"
