# make reproduce   the whole chain in small: real corpora, real weights, 20 to 50 minutes on two cores
# make bench       speed and memory, each against a baseline in the same run, about an hour on two cores
# make gpu-check   the same on a GPU, with the paper's sizes, ten minutes
# make docs        the site, in docs/_build/html
# make pages       the numbers in README.md, ARTIFACT.md and docs/, from the committed records
# make check       whether committed tables, figures and pages are what their records say
# make test        everything that can be checked without a GPU, about an hour on two cores; make test-fast is 4
# make notebooks   the outputs that the library's notebooks are committed with
# make lab         the notebooks in JupyterLab
# make lock        locks/ anew, by uv: the same versions, the registry's hashes; make audit asks for their known vulnerabilities
#
# PYTHON is the interpreter that .venv is made from (3.11.5 or newer), LOCK the exact set that goes into it:
#     make reproduce PYTHON=python3.12
#     make reproduce PROFILE=paper LOCK=locks/gpu.txt

PYTHON ?= python3
LOCK ?= locks/cpu.txt
PROFILE ?= quick
BIN := .venv/bin
READY := .venv/ready-$(notdir $(LOCK))

.PHONY: reproduce test test-fast style browser notebooks lab bench gpu-check docs check readme cards pages lock audit clean

reproduce: $(READY)
	$(BIN)/dimabsa run $(PROFILE) --publish
	@$(MAKE) --no-print-directory pages

# float32, where answers are the same on every machine; `DIMABSA_DTYPE=bfloat16 make test` must hold, too
test test-fast: export DIMABSA_DTYPE ?= float32
# two tests at a time share the cores: a thread that waits must not spin
test test-fast: export OMP_WAIT_POLICY ?= PASSIVE

test: $(READY) style browser
	@echo "== the library's notebooks, each example a test; their outputs are the committed ones"
	$(BIN)/python -m pytest -q -n 2 tests/test_notebooks.py
	@echo "== the tests that cross modules, the smoke chain among them"
	$(BIN)/python -m pytest -q -n 2 --durations 20 tests --ignore tests/test_notebooks.py --ignore tests/test_docs.py
	@echo "== the site, in a browser"
	$(BIN)/python -m pytest -q tests/test_docs.py

# no chain, no training, no browser
test-fast: $(READY) style
	$(BIN)/python -m pytest -q -n 2 -m "not slow and not browser" tests

style: $(READY)
	@echo "== notebooks are clean, and exported as they are"
	@before="$$(cat nbs/*.ipynb $$(find dimabsa_nb -name '*.py' | sort) | cksum)"; \
	$(BIN)/nbdev_clean && $(BIN)/nbdev_export && \
	if [ "$$before" != "$$(cat nbs/*.ipynb $$(find dimabsa_nb -name '*.py' | sort) | cksum)" ]; then \
		echo "notebooks or modules were not as nbdev_clean and nbdev_export leave them; they are now: commit them" >&2; \
		git diff --stat -- nbs dimabsa_nb >&2; exit 1; fi
	@echo "== lines, imports, names"
	@$(BIN)/ruff check -q nbs dimabsa_nb tests docs locks
	@$(MAKE) --no-print-directory check

# the committed outputs of the library's notebooks, written anew
notebooks: $(READY)
	$(BIN)/python tests/notebooks.py --write
	$(BIN)/nbdev_clean
	$(BIN)/nbdev_export

# the notebooks, opened where they run
lab: $(READY)
	$(BIN)/jupyter lab nbs

browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		apt-get update -qq && apt-get install -yqq --no-install-recommends chromium >/dev/null 2>&1; } || echo "no Chromium: the tests of pages are skipped"

check: $(READY)
	@$(BIN)/python docs/builder check

docs: $(READY)
	@$(BIN)/python docs/builder site

bench: $(READY)
	$(BIN)/dimabsa bench --profile $(PROFILE) --publish
	@$(MAKE) --no-print-directory pages

# on one data-centre GPU with LOCK=locks/gpu.txt, ten minutes: the paper's sizes with random weights, and its path with tiny models
gpu-check: $(READY)
	$(BIN)/dimabsa doctor gpu-check
	$(BIN)/dimabsa run gpu-check --publish --only 94_speed $(foreach part,extraction training encoder,--only 36_run_benchmark@$(part))
	$(BIN)/dimabsa run paper-tiny --name paper-tiny-gpu

# fresh results bring fresh numbers into every page
pages readme cards: $(READY)
	@$(BIN)/python docs/builder pages

TOOLS := build/tools/bin

$(TOOLS):
	$(PYTHON) -m venv build/tools
	$(TOOLS)/python -m pip install --quiet --disable-pip-version-check uv pip-audit

lock: | $(TOOLS)
	PATH="$(TOOLS):$$PATH" $(TOOLS)/python locks/make.py $(ARGS)

# gpu.txt names cpu.txt; one line and an error, too, where the registry does not say what is vulnerable
audit: | $(TOOLS)
	$(TOOLS)/pip-audit --strict --disable-pip --require-hashes -r locks/gpu.txt

# the stamp names the set that is installed, and is younger than all it depends on; every file that comes from outside has its hash in the set
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps
LOCKED := --require-hashes --only-binary :all:
$(READY): $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11.5 or newer is needed, %s is %d.%d.%d; set PYTHON" % (sys.executable, *sys.version_info[:3]) if sys.version_info < (3, 11, 5) else 0)'
	@rm -f .venv/ready*
	$(PYTHON) -m venv .venv
	$(INSTALL) $(LOCKED) -r $(LOCK)
	@$(BIN)/python -m pip check >/dev/null || { echo "torch came as its CUDA build: its libraries, too" >&2; $(INSTALL) $(LOCKED) -r locks/gpu.txt; }
	$(INSTALL) --no-build-isolation -e .
	$(BIN)/python -m pip check
	@touch $@

# what was trained stays in runs/
clean:
	rm -rf .venv build dist *.egg-info .pytest_cache
