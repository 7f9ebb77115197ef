# The two commands are `make demo` and `make test`; both make their own .venv first.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# Set-up is redone when one of these changes. What the platform runs with comes first, and is all that `make demo` needs;
# what tests, load and other engines take comes on top.
PLATFORM := $(VENV)/.platform
STAMP := $(VENV)/.installed
# Of what is there already pip would say two hundred lines.
PIP := $(BIN)/pip install --disable-pip-version-check
QUIETLY := | sed -u '/^Requirement already satisfied/d'

.PHONY: install demo down test test-quick check load compare compare-ann scaling chaos chaos-cluster fuzz lock image clean

install: $(STAMP)

$(PLATFORM) $(STAMP): SHELL := bash
$(PLATFORM) $(STAMP): .SHELLFLAGS := -o pipefail -c
C_FILES := $(wildcard recsys/*.[ch] recsys/*/*.[ch])
$(PLATFORM): pyproject.toml setup.py $(C_FILES) demo.lock
	@command -v $(PYTHON) >/dev/null || { echo "recsys: $(PYTHON) is not there; install Python 3.11 or say make PYTHON=…"; exit 1; }
	@command -v c++ >/dev/null || { echo "recsys: hnswlib compiles at install and needs a C++ compiler; on Debian: apt-get install g++"; exit 1; }
	@$(PYTHON) -c 'import sysconfig, pathlib, sys; sys.exit(not (pathlib.Path(sysconfig.get_path("include")) / "Python.h").exists())' \
	    || { echo "recsys: hnswlib compiles at install and needs Python's headers; on Debian: apt-get install python3-dev"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' || { echo "recsys: Python's venv is missing; on Debian: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) --progress-bar on -r demo.lock $(QUIETLY)
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(STAMP): $(PLATFORM) requirements.lock
	$(PIP) --progress-bar on -r requirements.lock $(QUIETLY)
	@touch $@

demo: $(PLATFORM)
	$(BIN)/recsys demo

down:
	@if [ -x $(BIN)/recsys ]; then $(BIN)/recsys down; else echo "nothing is installed, so nothing runs"; fi

# In two processes more than there are cores, four at the most: one has all tests of the platform, one those that start
# a Ray of their own, and both wait most of the time; the others have the rest. The ten slowest are printed, and
# var/tests.xml has the time of each. Modules are compiled once, before, and not anew by each of the several hundred
# processes that a run starts, also where the environment says that bytecode is not written.
COMPILED := @$(BIN)/python -m compileall -q -j 0 recsys deployments load_tests tests/support
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --durations 10 --junitxml var/tests.xml

test: $(STAMP)
	$(COMPILED)
	$(PYTEST)

# All that needs no cluster.
test-quick: $(STAMP)
	$(COMPILED)
	$(PYTEST) -m "not cluster"

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Load on a running platform; ARGS="--shape ramp|sustain|spike|surge|drain|soak --seconds 60 --peak 200".
load: $(STAMP)
	$(BIN)/python -m load_tests.traffic.run $(ARGS)

# Side by side with what people write by hand; ARGS as in docs/benchmarks.md.
compare: $(STAMP)
	@command -v wrk >/dev/null || { echo "recsys: the load comes from wrk; on Debian: apt-get install wrk"; exit 1; }
	$(BIN)/python -m load_tests.comparison.compare $(ARGS)

# Our shard with each engine beside the libraries and stores themselves; ARGS="--sets clustered --items 20000". What it
# compares with is installed beside, from the package index.
compare-ann: $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check -r load_tests/ann/requirements.txt
	$(BIN)/python -m load_tests.ann $(ARGS)

# Cost as items, shards, candidates and clients grow, a million items and more, the tail of many shards, and the paper
# arithmetic; 30 minutes, and as long for each million of SIZES that is not built yet as docs/scaling.md says.
# Goes on where it stopped; delete var/scaling.json to measure anew.
SIZES ?= 1000000,3000000,10000000
scaling: $(STAMP)
	@command -v wrk >/dev/null || { echo "recsys: the load comes from wrk; on Debian: apt-get install wrk"; exit 1; }
	$(BIN)/python -m load_tests.comparison.compare --sweep all --plots docs/img $(ARGS)
	$(BIN)/python -m load_tests.growth.sizes --sizes $(SIZES)
	$(BIN)/python -m load_tests.growth.tail
	$(BIN)/python -m load_tests.growth.forecast

# Faults under load, one after another, on a platform of its own; ARGS="--only 'composer killed,overload'".
chaos: $(STAMP)
	$(BIN)/python -m load_tests.chaos $(ARGS)

# Faults of whole machines: three network namespaces, each a machine of one cluster; needs root.
chaos-cluster: $(STAMP)
	$(BIN)/python -m load_tests.chaos.cluster $(ARGS)

# Over 5,000 made-up calls to a running platform; ARGS="--host URL --examples 400 --seed 1".
fuzz: $(STAMP)
	$(BIN)/python -m load_tests.traffic.fuzz $(ARGS)

# The pins that pip installs, resolved anew from pyproject.toml.
lock:
	$(BIN)/pip-compile --quiet --all-extras --strip-extras --allow-unsafe --no-emit-index-url --no-emit-find-links \
	    --no-emit-options --no-annotate --output-file requirements.lock pyproject.toml
	@sed -i 's/^\(torch==[0-9.]*\)+cpu$$/\1/' requirements.lock  # any build of that version
	$(BIN)/pip-compile --quiet --extra valkey --extra otel --extra s3 --strip-extras --allow-unsafe --no-emit-index-url \
	    --no-emit-find-links --no-emit-options --no-annotate --constraint requirements.lock \
	    --output-file deploy/serving.lock pyproject.toml
	$(BIN)/pip-compile --quiet --extra local --extra torch --extra evaluate --strip-extras --allow-unsafe \
	    --no-emit-index-url --no-emit-find-links --no-emit-options --no-annotate --constraint requirements.lock \
	    --output-file demo.lock pyproject.toml
	@sed -i 's/^\(torch==[0-9.]*\)+cpu$$/\1/' demo.lock

# The image for serving, with buildah or docker; ARGS="--build-arg BASE=…", or "--target full" for one with torch.
image:
	@if command -v buildah >/dev/null; then buildah bud --layers -f deploy/Dockerfile -t recsys $(ARGS) .; \
	    else docker build -f deploy/Dockerfile -t recsys $(ARGS) .; fi

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
