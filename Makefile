# demo   set everything up, train a digit network, deploy it against a requirement, ask it, say what happened
# test   set everything up and run every test (FAST=1 leaves out those marked slow)
# check  format, lint, types, import floors: what CI refuses
# fmt    rewrite the code in the project's format
# soak   hours of load, kills, switches, storms and bad requests; SOAK_S=30: seconds where time counts (1800)
# docs   refresh the tables in docs/ that scripts print
SHELL := /bin/bash
.DEFAULT_GOAL := help
# One process of tests per core; a file's tests stay together, since they share what is dear to build; what takes long comes first.
PYTEST_FLAGS := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(if $(FAST),-m "not slow",)

.PHONY: help demo test test-everywhere check soak fmt docs clean

help:
	@sed -n 's/^# \([a-z]* .*\)/  make \1/p' Makefile

demo:
	@scripts/environment.sh .venv-demo demo
	@scripts/demo.sh .venv-demo .demo

test: check
	@scripts/environment.sh .venv-clients clients
	scripts/run_tests.sh .venv/bin/python $(PYTEST_FLAGS)

# The unit tests on every other supported interpreter that this machine has.
test-everywhere:
	scripts/test_everywhere.sh

check:
	@scripts/environment.sh .venv test
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache

SOAK_S ?= 1800
soak:
	@scripts/environment.sh .venv test
	.venv/bin/python benchmarks/soak.py --seconds $(SOAK_S)
	.venv/bin/python benchmarks/worker_kills.py --kills $$(($(SOAK_S) / 5)) --pause 5
	.venv/bin/python benchmarks/reliability/switches.py --requests 1000000 --switches 500
	.venv/bin/python benchmarks/reliability/storm.py --threads 32 --operations 1024
	.venv/bin/python benchmarks/reliability/memory.py --cycles 5000
	FAIRLEAD_FUZZ_EXAMPLES=20000 .venv/bin/python -m pytest -q tests/hostile/test_http_fuzz.py
	FAIRLEAD_EXAMPLES=1000 .venv/bin/python -m pytest -q -m hypothesis $(PYTEST_FLAGS)

fmt:
	@scripts/environment.sh .venv test
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

docs:
	@scripts/environment.sh .venv test
	scripts/refresh_docs.sh

clean:
	rm -rf .venv .venv-clients .venv-demo .venv-unit-* .uv .demo dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
