# Two commands do everything: `make demo` and `make test`. Both build .venv when it is missing.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow test-full lint docs llms dist bench clean
.DELETE_ON_ERROR:

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "foreframe needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	$(PYTHON) -m venv .venv

# The package is compiled at once: where Python may not write bytecode (PYTHONDONTWRITEBYTECODE), each
# command would compile it anew.
.venv/installed: pyproject.toml | .venv/bin/python
	$(BIN)/pip install --editable .
	@$(BIN)/python -m compileall -q src
	@touch $@

.venv/installed-dev: pyproject.toml | .venv/bin/python
	$(BIN)/pip install --editable '.[dev]'
	@$(BIN)/python -m compileall -q src
	@$(BIN)/python -c 'from foreframe.addons.serve.web_runtime import web_runtime; web_runtime()' 2>/dev/null || \
		echo "Without it tests of the exported page are skipped"
	@touch $@

# The main job: a forecast by the published weights; then train a U-Net for four minutes on the
# embedded digits, score it on digits that it has never seen, forecast; at last three possible futures
# by the published weights.
# On one core: maps as small as these gain a tenth by a second one, and four fifths of the steps are
# lost where that is busy, since each waits for it.
demo: export OMP_NUM_THREADS := 1
demo: .venv/installed
	@if [ -e runs/demo ]; then old=runs/demo-$$(date +%Y%m%d-%H%M%S); mv runs/demo $$old; echo "The last demo moved to $$old"; fi
	@mkdir -p runs/published
	@$(BIN)/foreframe data --split test --clip 7 --output runs/published/clip.npy
	$(BIN)/foreframe predict moving-mnist runs/published/clip.npy --steps 20 -o runs/published/future.gif
	@echo "That was made by the weights that come with foreframe. Now a model of your own, in four minutes:"
	$(BIN)/foreframe train --config unet_small --run runs/demo
	$(BIN)/foreframe evaluate runs/demo --clips 500
	$(BIN)/foreframe predict runs/demo runs/published/clip.npy --steps 10 -o runs/demo/future.gif
	@echo "At last three possible futures of ten frames, by the weights that come with foreframe:"
	@$(BIN)/foreframe data --split test --clip 7 --past 20 --output runs/published/whole.npy
	$(BIN)/foreframe predict moving-mnist runs/published/whole.npy --after 9 --steps 10 --members 3 --seed 0 -o runs/published/members.png
	@$(BIN)/python examples/demo_picture.py runs/demo/evaluation/strip.png runs/published/members.png runs/demo/demo.png
	@echo
	@echo "Look at runs/demo/demo.png. Above, three clips of digits that your U-Net has not seen: truth, forecast and error."
	@echo "Below, one clip by the weights moving-mnist: truth, mean and spread of three possible futures, and each of them."
	@echo "In motion: runs/demo/evaluation/forecast.gif, runs/demo/future.gif by yours, runs/published/future.gif by moving-mnist."

# What checks types rewrites our modules, and pytest the tests: twenty seconds of each process where
# Python may not keep them.
test test-slow: export PYTHONDONTWRITEBYTECODE :=
# Three on two cores: a test that waits for a process, a kill or a file leaves its core to another.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 3 --dist worksteal
# What is equal to the bit is so with the threads that a user has, too.
PYTEST_THREADS := $(BIN)/python -m pytest

test: .venv/installed-dev
	$(PYTEST) -m "not slow and not full"

test-slow: .venv/installed-dev
	$(PYTEST) -m "slow and not full"
	$(PYTEST_THREADS) -m "exact and not full"

# pysteps is built from source, which takes minutes: without it tests of it are skipped.
test-full: .venv/installed-dev
	$(BIN)/pip install --quiet --editable '.[pysteps]'
	$(PYTEST) -m full
	$(PYTEST) tests/addons/radar/test_nowcasts.py tests/addons/radar/test_pysteps.py

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: | .venv/bin/python
	$(BIN)/pip install --quiet --editable '.[docs]'
	$(BIN)/zensical build --clean --strict

# llms.txt, from the table of pages in docs/index.md.
llms:
	$(PYTHON) .ci/llms.py

# Wheel and sdist, in dist/. `python .ci/try_installed.py FOLDER` tries them where they are installed.
dist: | .venv/bin/python
	$(BIN)/pip install --quiet 'build>=1.2' 'twine>=6'
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	@ls -lh dist

bench: .venv/installed
	$(BIN)/python benchmarks/speed.py

clean:
	rm -rf .venv build dist site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
