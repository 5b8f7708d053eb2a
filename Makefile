# `make` alone lists what can be made.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
# The build of torch to install where none works yet, for example: make setup TORCH=torch==2.12.0
TORCH ?= torch==2.13.0
BIN := .venv/bin
NMT := $(BIN)/nmt
RUNS ?= runs
BUDGET ?= 15m
FAMILIES := bottleneck attention transformer
STUDIES := $(patsubst recipes/%/study.toml,%,$(wildcard recipes/*/study.toml))
PLANS := $(patsubst recipes/%/bootstrap.toml,%,$(wildcard recipes/*/bootstrap.toml))
RECIPES := $(filter-out $(STUDIES) $(PLANS),$(patsubst recipes/%/recipe.toml,%,$(wildcard recipes/*/recipe.toml)))
# Which seeds of a study, for example: make score-functions SEEDS=1
SEEDS ?= 3

.PHONY: help setup demo docs test test-thorough test-fast test-lowest check lint types wheel clean multi30k-small multi30k-ende-decoding decoding-speed three-ways $(RECIPES) $(STUDIES) $(PLANS)

help: ## list the targets
	@echo "nmt: sequence-to-sequence translation, from raw text to a score that can be trusted"
	@echo
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 26
	@echo
	@echo "One target per recipe (they train, then score):"
	@printf '  %s\n' $(RECIPES)
	@echo
	@echo "One target per study (several systems over SEEDS=3 seeds; tables and pictures go into its folder):"
	@printf '  %s\n' $(STUDIES)
	@echo
	@echo "One target per bootstrap (models that translate text for other recipes; needs NMT_DATA):"
	@printf '  %s\n' $(PLANS)

setup: .venv/.ready ## make .venv and install torch and this package into it

# A torch that the system's Python already has (a CUDA image, say) is seen from the environment and never replaced. An active
# environment is neither: the new one is made of the Python beneath it, and would not see what was installed there.
.venv/bin/python:
	@base=$$($(PYTHON) -c 'import sys; print(sys._base_executable)'); \
	if "$$base" -c 'import torch' >/dev/null 2>&1; then flags=--system-site-packages; else flags=; fi; \
	"$$base" -m venv $$flags .venv

.venv/.ready: .venv/bin/python pyproject.toml
	@$(BIN)/python -c 'import torch' >/dev/null 2>&1 || $(BIN)/python -m pip install --quiet '$(TORCH)'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

# One thread each, side by side: small models gain more from that than from sharing the cores of one update. The comparison takes
# one thread too: its steps are so short that threads wait for each other. TER takes its time where all words are wrong.
demo: setup ## train the three families on the embedded phrasebook and compare them (3 to 6 minutes on 2 CPU cores, set-up apart)
	@$(NMT) prepare recipes/phrasebook-attention
	@mkdir -p $(RUNS); jobs=(); \
	for family in $(FAMILIES); do \
	  OMP_NUM_THREADS=1 $(NMT) train recipes/phrasebook-$$family --run $(RUNS)/phrasebook-$$family \
	    2> >(sed -u "s/^/$$family: /" >&2) & jobs+=($$!); \
	done; \
	for job in "$${jobs[@]}"; do wait "$$job"; done
	@OMP_NUM_THREADS=1 $(NMT) compare $(foreach f,$(FAMILIES),$(RUNS)/phrasebook-$(f)) --testset test --testset long --metric bleu --metric chrf2 \
	  --plot $(RUNS)/phrasebook.png --save $(RUNS)/phrasebook.json

multi30k-small: setup ## train the three families on Multi30k de-en, BUDGET=15m each (needs NMT_DATA)
	@for family in $(FAMILIES); do \
	  $(NMT) train recipes/multi30k-small-$$family --run $(RUNS)/multi30k-small-$$family --budget $(BUDGET); \
	done
	@$(NMT) compare $(foreach f,$(FAMILIES),$(RUNS)/multi30k-small-$(f)) --testset test_2016_flickr --lowercase \
	  --plot $(RUNS)/multi30k-small.png --save $(RUNS)/multi30k-small.json

$(RECIPES): %: setup recipes/%/recipe.toml
	@$(NMT) train recipes/$* --run $(RUNS)/$*
	@$(NMT) evaluate $(RUNS)/$* --lowercase --save $(RUNS)/$*/results

$(STUDIES): %: setup recipes/%/study.toml
	@if [ -f recipes/$*/join.py ]; then $(BIN)/python recipes/$*/join.py runs/$*/data; fi
	@$(NMT) study recipes/$* --runs runs/$* --output recipes/$* --seeds $(SEEDS)
	@if [ -f recipes/$*/control.py ]; then $(BIN)/python recipes/$*/control.py runs/$* runs/$*/data recipes/$*; fi

# Into runs/ whatever RUNS is: that is where recipes look for the corpora.
$(PLANS): %: setup recipes/%/bootstrap.toml
	@if [ -f recipes/$*/draw.py ]; then $(BIN)/python recipes/$*/draw.py runs/$*/data; fi
	@$(NMT) bootstrap recipes/$* --runs runs/$*
	@$(BIN)/python recipes/low-resource-ende/scores.py recipes/$* runs/$* recipes/$*

multi30k-ende-attention-distilled multi30k-ende-transformer-diversified: multi30k-ende-distilled

multi30k-ende-decoding: multi30k-ende-transformer ## greedy, beams, ensembles, MBR and sampling from one trained model
	@PATH="$(abspath $(BIN)):$$PATH" recipes/multi30k-ende-transformer/decoding.sh $(RUNS)/multi30k-ende-transformer $(RUNS)/multi30k-ende-decoding

# The largest set of instructions that the CPU has, and AVX2; rows are added to the file, and the newest of a kind count.
ISAS ?= "" avx2
MODEL ?= $(RUNS)/multi30k-reference
TEXT ?= $(NMT_DATA)/multi30k/test_2016_flickr.de
REFERENCE := recipes/multi30k-reference
decoding-speed: setup ## speed of search on this CPU against CTranslate2, for RESULTS (needs a trained MODEL and a TEXT)
	@for isa in $(ISAS); do for search in "--beam 5 --batch 32" "--beam 1 --batch 64"; do \
	  NMT_ISA=$$isa OMP_NUM_THREADS=1 $(NMT) bench decode $(MODEL) --text $(TEXT) $$search --json >> $(REFERENCE)/decode-cpus.jsonl; \
	done; done
	@$(BIN)/python $(REFERENCE)/table.py $(REFERENCE)/decode-cpus.jsonl RESULTS.md

three-ways: setup ## speed and memory of the three ways to read a sequence, against length (3 minutes)
	@OMP_NUM_THREADS=1 $(BIN)/python recipes/three-ways/measure.py recipes/three-ways

# The tests start many processes, each of which would compile the sources again where Python is told to keep no bytecode.
test: setup ## run the whole test suite (11 minutes on 2 cores with AVX2)
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n 2 --dist worksteal -m 'not thorough'

test-thorough: setup ## run the tests that take minutes each: random kills of each family, compiled steps
	@$(BIN)/python -m pytest -n 2 -m thorough

test-fast: setup ## run the fast tests only (about 3 minutes on 2 cores)
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n 2 -m 'not slow and not thorough'

# The torch of `make setup`. Old releases warn of newer ones that they use, which is not what is tested.
test-lowest: ## run the fast tests with the oldest releases of everything else that pyproject.toml allows
	@test -d .venv-lowest || { $(PYTHON) -m venv .venv-lowest; .venv-lowest/bin/python -m pip install --quiet uv; }
	@.venv-lowest/bin/uv pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct '$(TORCH)' -e '.[dev]'
	@.venv-lowest/bin/python -m pytest -n 2 -m 'not slow and not thorough' -W default

docs: .venv-docs/.ready ## build the site of the documents into site/
	@NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --quiet --strict

# An environment of its own: what builds the site needs neither torch nor this package.
.venv-docs/.ready: pyproject.toml
	@test -d .venv-docs || $(PYTHON) -m venv .venv-docs
	@.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check 'mkdocs-material>=9.5'
	@touch $@

check: lint types test ## lint, format, types and tests: what has to pass before a change lands

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: setup
	@$(BIN)/mypy
	@$(BIN)/pyright --pythonpath $(BIN)/python

wheel: setup ## build the wheel
	@$(BIN)/python -m build --wheel

clean: ## remove the environment and what was built (runs stay)
	rm -rf .venv .venv-docs .venv-lowest site dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
