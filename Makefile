# `make help` says what there is.
SHELL := /bin/bash
PYTHON ?= python3
VIDEO ?= media/box.mp4
PROMPT ?= the yellow box
export PYTHON

.PHONY: help demo test test-full test-floor test-distros bench lint clean
.DEFAULT_GOAL := help

help:
	@echo 'make demo [VIDEO=file] [PROMPT="the yellow box"] [MODEL=folder] [CONSOLE=1]   the real node on a video over ROS topics; results in demo_output/; CONSOLE=1: a page for browsers, until ^C'
	@echo 'make test [TESTS=test/...]                         style check and all tests'
	@echo 'make test-full                                       also what takes a minute or more a test'
	@echo 'make test-floor                                      the robot side on the lowest versions allowed, Ubuntu 22.04 and 24.04'
	@echo 'make test-distros                                    the node on Jazzy; Kilted is what make test runs'
	@echo 'make bench [BENCH="soak --full"]                     every figure of the documentation anew (half an hour)'
	@echo 'make lint                                          style and types only'
	@echo 'make clean                                         remove environments, builds and demo_output/'
	@echo
	@echo 'Needs python3 (3.10 to 3.13) with headers, g++ and make; anything missing is named with its cure.'
	@echo 'Choose another Python with PYTHON=python3.11. On a robot with ROS 2: colcon build, see README.md.'

demo:
	@VIDEO='$(VIDEO)' PROMPT='$(PROMPT)' CONSOLE='$(filter-out 0,$(CONSOLE))' scripts/demo $(if $(MODEL),--model '$(MODEL)')

test:
	@scripts/test $(TESTS)

test-full:
	@scripts/test --slow $(TESTS)

test-distros:
	@scripts/test-distros $(TESTS)

test-floor:
	@scripts/test-floor $(ROWS)

bench:
	@scripts/bench $(BENCH)

lint:
	@scripts/bootstrap test 3
	@.venv-test/bin/ruff check .
	@.venv-test/bin/mypy

clean:
	rm -rf .venv-demo .venv-test .venv-floor .venv-jazzy .ros demo_output .pytest_cache .ruff_cache .mypy_cache build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
