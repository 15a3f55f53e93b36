# make help    lists the targets.
# Everything is installed into .venv; downloads and models live in ~/.cache/skywork_rt.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CACHE ?= $(or $(SKYWORK_RT_CACHE),$(HOME)/.cache/skywork_rt)
BUNDLE := $(CACHE)/demo/SmolLM2-135M-Instruct
PRESET ?= release
FUZZ_SECONDS ?= 30
# Two files of tests at a time: many wait for a process of one thread. Empty: one after the other. In our own order
# (tests/python/conftest.py), the longest first: xdist's own looks at how many tests a file has.
PYTEST_PARALLEL ?= -n 2 --dist loadfile --no-loadscope-reorder
CMAKE_OPTIONS_sanitize := -DSKYWORK_RT_FUZZ_SECONDS=$(FUZZ_SECONDS)
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# Where ccache is installed, builds share what they compile: with each other, with other clones, and from day to day.
export CCACHE_DIR ?= $(CACHE)/ccache
export CCACHE_BASEDIR ?= $(CURDIR)
export CCACHE_NOHASHDIR ?= 1
# One name for the compiler (make's own default), by which ccache tells compilers apart.
export CXX

# What pip does not carry: a compiler, Python's venv, and GoogleTest for the C++ tests.
DEBIAN_BUILD := g++ python3-venv
DEBIAN_TEST := libgtest-dev libgmock-dev ccache
# The browser that the tests of the server's page drive (14 seconds to install, 113 MB); without it they are skipped.
DEBIAN_BROWSER := chromium
# Clang with its sanitizers and libFuzzer; llvm brings the names of functions into their reports.
DEBIAN_SANITIZE := clang libclang-rt-dev llvm

SOURCES := $(shell git ls-files 'csrc/*' 'cmake/*' 'export/*' 'python/*' CMakeLists.txt pyproject.toml 2>/dev/null)

.PHONY: help
help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

.PHONY: demo
demo: $(VENV)/.installed  ## install, prepare Lite, export SmolLM2-135M and stream text from it
	$(if $(LITE_HOME),,$(BIN)/skywork-rt lite install)
	$(BIN)/python examples/demo.py --bundle "$(BUNDLE)"

.PHONY: demo-recipe
demo-recipe: $(VENV)/.requirements-export-recipe $(VENV)/.installed  ## train a tiny Chinese model, convert, export, and answer on every backend
	$(if $(LITE_HOME),,$(BIN)/skywork-rt lite install)
	rm -rf build/demo-recipe
	$(BIN)/python examples/demo_recipe.py --out build/demo-recipe

.PHONY: test
test: lint test-cpp test-sanitizers test-python  ## lint, sanitizers, fuzzing and every test, C++ and Python

.PHONY: test-fast
test-fast: $(VENV)/.cpp-release $(VENV)/.requirements-test-recipe $(VENV)/.installed  ## the quick tests, under three minutes
	$(BIN)/ctest --preset release -L fast -j2
	$(BIN)/python -m pytest -q -m "not slow and not long" $(PYTEST_PARALLEL)

.PHONY: test-cpp
test-cpp: $(VENV)/.cpp-$(PRESET)  ## build and run the C++ tests (PRESET=asan, ubsan, tsan for the sanitizers)
	$(BIN)/ctest --preset $(PRESET) -LE long -j2

.PHONY: test-sanitizers
test-sanitizers: $(VENV)/.cpp-sanitize $(VENV)/.cpp-tsan  ## C++ tests under asan + ubsan and tsan, and 30 s of each fuzz target
	$(BIN)/ctest --preset sanitize -LE long -j2
	$(BIN)/ctest --preset tsan -LE long -j2

.PHONY: fuzz
fuzz: $(VENV)/.cpp-sanitize  ## the fuzz targets alone, two at a time (FUZZ_SECONDS=600 for longer)
	$(BIN)/ctest --preset sanitize -L fuzz -j2

.PHONY: test-python
test-python: $(VENV)/.cpp-release $(VENV)/.requirements-test-recipe $(VENV)/.installed | debian-browser  ## install and run the Python tests
	$(BIN)/python -m pytest -q -m "not long" $(PYTEST_PARALLEL)

.PHONY: test-long
test-long: $(VENV)/.cpp-release $(VENV)/.requirements-test-recipe $(VENV)/.installed  ## soak and stress on the real runtime, large models
	$(BIN)/python -m pytest -q -m long

.PHONY: lint
lint: $(VENV)/.requirements-dev $(VENV)/.requirements-test-recipe  ## ruff, mypy --strict, clang-format, oxlint, dependencies of rooms
	$(BIN)/python cmake/scripts/check_layers.py
	git ls-files '*.py' '*.pyi' | xargs $(BIN)/ruff check
	$(BIN)/python cmake/scripts/check_types.py
	git ls-files '*.py' '*.pyi' | xargs $(BIN)/ruff format --check
	git ls-files '*.js' | xargs $(BIN)/oxlint --deny-warnings
	git ls-files '*.h' '*.cc' | xargs $(BIN)/clang-format --dry-run -Werror

.PHONY: reference
reference: $(VENV)/.installed  ## write docs/reference/ from the code
	$(BIN)/python cmake/scripts/make_reference.py

.PHONY: tidy
tidy: $(VENV)/.cpp-release | debian-tidy  ## clang-tidy over the library and its programs (2 to 3 minutes)
	run-clang-tidy -p build/release -j2 -quiet -extra-arg=-Wno-unknown-warning-option "$(CURDIR)/csrc/"

.PHONY: clean
clean:  ## remove the builds and the virtual environment (not the cache)
	rm -rf build $(VENV)

.PHONY: debian-build debian-test debian-browser debian-sanitize debian-tidy
debian-build:
	@./cmake/scripts/debian_packages.sh $(DEBIAN_BUILD)
debian-test:
	@./cmake/scripts/debian_packages.sh $(DEBIAN_BUILD) $(DEBIAN_TEST)
debian-browser:
	@./cmake/scripts/debian_packages.sh $(DEBIAN_BROWSER)
debian-sanitize:
	@./cmake/scripts/debian_packages.sh $(DEBIAN_BUILD) $(DEBIAN_TEST) $(DEBIAN_SANITIZE)
debian-tidy:
	@./cmake/scripts/debian_packages.sh clang-tidy

$(VENV)/.created: | debian-build
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --upgrade pip
	touch $@

# Third-party packages of an extra first, with pip's own bars; they change only with pyproject.toml. Python compiles what
# is imported when it is; compiling all of them beforehand takes as long as installing them.
$(VENV)/.requirements-%: $(VENV)/.created pyproject.toml cmake/scripts/requirements.py
	$(BIN)/python cmake/scripts/requirements.py $(subst -, ,$*) > $(VENV)/requirements.txt
	$(BIN)/pip install --no-compile -r $(VENV)/requirements.txt
	touch $@

# With tests the package is compiled as the tests are, warnings as errors too, so that ccache has most of it already.
test test-fast test-python test-long: INSTALL_SETTINGS := cmake.define.SKYWORK_RT_WERROR=ON
$(VENV)/.installed: $(VENV)/.cpp-tools $(VENV)/.requirements-export $(SOURCES)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python cmake/scripts/install_project.py $(INSTALL_SETTINGS)
	touch $@

$(VENV)/.cpp-tools: $(VENV)/.created
	$(BIN)/pip install 'cmake>=3.25' 'ninja>=1.11' 'nlohmann-json>=3.11'
	touch $@

$(VENV)/.cpp-sanitize: | debian-sanitize

.PHONY: FORCE
FORCE:
$(VENV)/.cpp-%: $(VENV)/.cpp-tools FORCE | debian-test
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/cmake --preset $* $(CMAKE_OPTIONS_$*) \
	  -DPython3_EXECUTABLE="$(abspath $(BIN))/python" > /dev/null
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/cmake --build --preset $*
