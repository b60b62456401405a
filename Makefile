# Everything starts here: `make demo` and `make test` need nothing but make and Python 3.11 or newer.
#
# Each target installs what is missing into its own virtual environment first; the stamp file makes the second time fast.

PYTHON ?= python3
VENV   ?= .venv
CONSTRAINTS ?= constraints.txt
KILLS  ?= 10
LOAD   ?= full
MINUTES ?= 5
KEYS ?= 1000000,4000000
GIB    ?= 1
REPEAT ?= 1
ROWS   ?= all

BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-without-ray test-on-ray test-floor verify fix quick-bench failover soak snapshot-pause snapshot-bench replace dist-check sim sim-speed catalogue chaos netns-chaos mutants storage-campaign power-cuts clean

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

$(STAMP): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "raft-actors needs Python 3.11 or newer, and '$(PYTHON)' is none: name one, as in 'make PYTHON=python3.12'." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "'$(PYTHON)' cannot make virtual environments: install the package python3-venv of your system." >&2; exit 1; }
	@echo "installing into $(VENV), once ..." >&2
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --constraint $(CONSTRAINTS) --editable '.[analysis,cli,dev]'
	@touch $@

demo: $(STAMP) ## the main job: load data, kill the leader, restart everything, lose nothing
	$(BIN)/raft-kv demo

test: $(STAMP) ## all tests, those on a real Ray cluster too
	$(MAKE) --no-print-directory --jobs=2 test-without-ray test-on-ray

# The two halves of `make test`. On Ray most of the time is spent waiting, so they run side by side on two cores.
test-without-ray: $(STAMP)
	$(BIN)/python -m pytest -m 'not cluster' --ignore=tests/cluster
	$(BIN)/python -m tests.sim run --minutes 1 --workers 1 --anew --no-record

test-on-ray: $(STAMP)
	$(BIN)/python -m pytest -m 'cluster and not catalogue' --durations=30

test-floor: build/floor.txt ## all tests, with the oldest Ray that pyproject.toml permits
	$(MAKE) test VENV=build/floor CONSTRAINTS=$<

build/floor.txt: pyproject.toml constraints.txt
	mkdir -p build
	sed "s/^ray==.*/ray==$$(sed -n 's/.*"ray>=\([0-9.]*\),.*/\1/p' pyproject.toml).*/" constraints.txt > $@

verify: $(STAMP) ## lint, format, types, and all tests that need no Ray; writes nothing
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -n 2 -m 'not cluster and not long' --ignore=tests/cluster

fix: $(STAMP) ## what verify complains about and a tool can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

quick-bench: $(STAMP) ## puts against one plain Ray actor, in turns
	$(BIN)/python -m kv.app.bench quick

failover: $(STAMP) ## KILLS=10: from the leader's SIGKILL to the next acknowledged put
	$(BIN)/python -m kv.app.bench failover --kills $(KILLS)

soak: $(STAMP) ## LOAD=full|idle MINUTES=5: no new leader and no growth while nothing fails
	$(BIN)/python -m kv.app.bench soak --load $(LOAD) --minutes $(MINUTES)

sim: $(STAMP) ## SEEDS=200000 or MINUTES=30, EVENTS=400: worlds from seeds; goes on where it was interrupted
	$(BIN)/python -m tests.sim run --workers $$(nproc) $(if $(SEEDS),--seeds $(SEEDS)) $(if $(EVENTS),--events $(EVENTS)) \
		$(if $(filter-out file default,$(origin MINUTES)),--minutes $(MINUTES))

sim-speed: $(STAMP) ## events per second and core with all checks on, and where the time goes
	$(BIN)/python -m tests.sim speed --rounds 3

catalogue: $(STAMP) ## REPEAT=1 ROWS=all|real-time: the rows of Ruaft's and of MIT's suites on real actors
	$(BIN)/python -m tests.catalogue --repeat $(REPEAT) --rows $(ROWS)

chaos: $(STAMP) ## MINUTES=60: one fault after the other on real actors, each history judged; goes on where it was
	$(BIN)/python -m tests.chaos --chaos $(MINUTES)

netns-chaos: $(STAMP) ## MINUTES=20: partitions between hosts that are network namespaces (root, iproute2, nftables)
	$(BIN)/python -m tests.netns chaos --chaos $(MINUTES)

mutants: $(STAMP) ## ONLY='a* f16*' SEEDS=20000: bugs put into copies of the code; each has to be caught
	$(BIN)/python -m tests.mutants run --workers $$(nproc) $(if $(SEEDS),--seeds $(SEEDS)) $(foreach name,$(ONLY),'$(name)')

# Units: 2,000 images of K5, a 211th of all changes of one 16 KiB log of K6, one workload of K8, 2,000 lies of K16.
K5  ?= 100
K6  ?= 211
K8  ?= 40
K16 ?= 500
CUTS ?= 2000
WORKERS ?= 1

storage-campaign: $(STAMP) ## K5=100 K6=211 K8=40 K16=500: crashes, damage, failures and lies against the storage
	$(BIN)/python -m tests.storage.campaigns k5 --count $(K5) --workers $(WORKERS)
	$(BIN)/python -m tests.storage.campaigns k6 --count $(K6) --workers $(WORKERS)
	$(BIN)/python -m tests.storage.campaigns k8 --count $(K8) --workers $(WORKERS)
	$(BIN)/python -m tests.storage.campaigns k16 --count $(K16) --workers $(WORKERS)

power-cuts: $(STAMP) ## CUTS=2000: real power cuts of ext4 on a loop device, as root; says why where it cannot
	$(BIN)/python -m tests.power_cuts --cuts $(CUTS) --workers $(WORKERS)

snapshot-pause: $(STAMP) ## KEYS=1000000,4000000: stalls and gaps while every member takes a snapshot
	$(BIN)/python -m kv.app.bench snapshot-pause --keys $(KEYS)

snapshot-bench: $(STAMP) ## GIB=1: a state sent from node to node beside the service, against a plain actor; a restart
	$(BIN)/python -m kv.app.bench snapshot-bench --gib $(GIB)

replace: $(STAMP) ## a member killed with its disk removed, on three nodes, replaced unasked under load
	$(BIN)/python -m kv.app.bench replace

dist-check: $(STAMP) ## wheel and sdist work in an empty environment outside the clone
	@set -eu; box=$$(mktemp -d); trap 'rm -rf "$$box"' EXIT; constraints=$$(realpath $(CONSTRAINTS)); \
	$(BIN)/python -m build --outdir "$$box/dist" . >"$$box/build.log" 2>&1 || { cat "$$box/build.log"; exit 1; }; \
	$(BIN)/python -m venv "$$box/venv"; \
	"$$box/venv/bin/python" -m pip --disable-pip-version-check --quiet install --constraint "$$constraints" "$$box"/dist/*.whl; \
	cd "$$box"; \
	venv/bin/python -I -c "$$DIST_CHECK" "$$box"; \
	venv/bin/raft-kv --help; \
	echo "dist-check: $$(cd dist && echo *)"

define DIST_CHECK
import importlib, sys
from importlib.metadata import version
from pathlib import Path

box = Path(sys.argv[1]).resolve()
for name in ("raft_actors", "kv", "analysis"):
    package = importlib.import_module(name)
    home = Path(package.__file__).resolve().parent
    assert home.is_relative_to(box), f"{name} was found in {home}, not in the empty environment"
    assert (home / "py.typed").is_file(), f"{name} came without py.typed"
    assert package.__raft_actors__ == version("raft-actors"), f"{name} says {package.__raft_actors__}"
assert "ray" not in sys.modules, "importing the packages loaded Ray"
endef
export DIST_CHECK

clean: ## what was built and cached; the virtual environment too
	test ! -e $(VENV)/pyvenv.cfg || rm -rf $(VENV)
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	find raft_actors kv analysis tests docs -name __pycache__ -type d -prune -exec rm -rf {} +
