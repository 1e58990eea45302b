# `make demo` and `make test` need Python 3.11, a Rust toolchain and make; they install the rest in .venv.
PYTHON ?= $(or $(shell command -v python3.11),python3)
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test check check-rust check-python proof faults soak-supervisor soak-simulation soak-lookout soak-core \
  soak-memory soak-proof model soak bench bench-peers docs wheel wheels screenshots picture lock clean
demo: .stamps/build
	$(BIN)/wcsup demo

# The tests of Kafka and of faults wait most of their time. Each side has a broker of its own, and takes a file at a time;
# tests/conftest.py gives all tests with three brokers to one side. Faults with time limits of Kafka need a calm machine.
SIDE_BY_SIDE := --dist loadfile --no-loadscope-reorder

test: .stamps/build
	cargo test --locked --quiet
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/fast
	$(BIN)/python -m pytest --durations=15 -n 3 $(SIDE_BY_SIDE) tests/kafka
	$(BIN)/python -m pytest --durations=15 -n 2 $(SIDE_BY_SIDE) -m "not long" tests/faults

# Both parts can run at once: make -j 2 check.
check: check-rust check-python

check-rust: .stamps/build
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --features python -- -D warnings

check-python: .stamps/build
	$(BIN)/ruff format --check python tests benches docs examples
	$(BIN)/ruff check python tests benches docs examples
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest wcsup._core
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/kubernetes-validate --strict --quiet $(filter-out %/kustomization.yaml,$(wildcard deploy/kubernetes/*.yaml))

# The protocol as docs/protocol has it, checked by TLC, and its mutants, which have to fail: docs/proof.md. ARGS=--quick
# leaves out what takes more than ten seconds each, ARGS="--only names" all but what has this in its name.
proof: .stamps/build
	PYTHONPATH=tests $(BIN)/python -m proof.check $(ARGS)

# One family or case by its name, such as CASE=zombie; all without. PROTOCOL=consumer takes groups of KIP-848.
faults: .stamps/build
	$(BIN)/python -m pytest -s tests/faults -k "$(CASE)"

# Real workers killed a thousand times under one supervisor: counts, descriptors, memory. Takes some minutes.
soak-supervisor: export KILLS := $(or $(KILLS),1000)
soak-supervisor: .stamps/build
	$(BIN)/python -m pytest -s tests/faults/test_supervised_kills.py

# What a supervisor asks of Kafka in a week, at once, and what that leaves in its memory. Takes some minutes.
soak-lookout: export LOOKS := $(or $(LOOKS),604800)
soak-lookout: .stamps/build
	$(BIN)/python -m pytest -s --timeout 0 tests/kafka/test_lookout.py -k week

# The supervisor's pool in a simulated world of deaths, hangs, outages and commands; SEED=… repeats one. `make test` has
# 500 hours of it.
soak-simulation: export SIMULATED_HOURS := $(or $(HOURS),20000)
soak-simulation: .stamps/build
	$(BIN)/python -m pytest -n 2 --timeout 0 tests/fast/test_simulation.py

# All kinds of faults mixed from one seed, under load; SEED=… repeats what was dealt. `make test` has 18 s of it.
# Before it, the Rust core is soaked by itself, and the protocol is checked within larger bounds.
soak: export MINUTES := $(or $(MINUTES),5)
soak: .stamps/build soak-core soak-memory soak-simulation soak-proof model
	$(BIN)/python -m pytest -s -m long tests/faults
	$(BIN)/python -m pytest -s tests/faults/test_soak.py

soak-proof: .stamps/build
	PYTHONPATH=tests $(BIN)/python -m proof.check --large

# Each check of the Rust core (rust/fuzz/) for a minute, with inputs by libFuzzer, which needs a C++ compiler. New inputs
# are kept in target/, and one that a check fails for is named at the end: it belongs in rust/fuzz/corpus.
SECONDS_EACH ?= 60
CHECKS ?= packed aggregator table words totals
soak-core: .stamps/cargo-fuzz
	@for check in $(CHECKS); do \
	  mkdir -p target/corpus/$$check; \
	  PATH="$(abspath .stamps/cargo-fuzz/bin):$$PATH" cargo fuzz run --fuzz-dir rust/fuzz --target-dir target/fuzz \
	    --sanitizer none $$check target/corpus/$$check rust/fuzz/corpus/$$check \
	    -- -max_total_time=$(SECONDS_EACH) -max_len=2000 -timeout=60 -print_final_stats=1 || exit 1; \
	done

# Who owns and who frees memory where librdkafka, the Rust core and Python meet, under valgrind; it takes some minutes, and
# what it found is in target/memory. Tests that look where the C library's heap is can't run so: valgrind has its own.
# What Python reads before it is written is not looked at: that is its own business, and takes half of the time.
MEMORY := frees or copies or along or leaves or outlives or ends_with_its or written_as
soak-memory: .stamps/build
	@command -v valgrind > /dev/null || { echo "soak-memory needs valgrind, which is not installed" >&2; exit 1; }
	rm -rf target/memory && mkdir -p target/memory
	PYTHONMALLOC=malloc valgrind -q --undef-value-errors=no --trace-children=yes --error-exitcode=9 --num-callers=30 \
	  --suppressions=tests/valgrind.supp --log-file=$(abspath target/memory)/%p \
	  $(BIN)/python -m pytest -n0 --timeout 0 tests/fast/test_heap.py tests/fast/test_reader.py tests/fast/test_writer.py \
	  -k "$(MEMORY)" || { cat target/memory/*; exit 1; }

# All ways in which threads can meet where a client of librdkafka ends or a record is acknowledged, by loom.
model:
	RUSTFLAGS="--cfg loom" cargo test --locked --quiet --target-dir target/model --test model

bench: .stamps/build
	cargo bench --locked --quiet
	$(BIN)/python -m pytest benches

# Flink and Kafka Streams are compiled with the host's JDK (17 or newer); without one they are left out, and it says so.
ROUNDS ?= 3
bench-peers: .stamps/build
	$(BIN)/python -m benches.peers --rounds $(ROUNDS) $(ARGS)

# The pictures of docs/page.md, of the page of a run that is made for them; needs Chromium, and takes two minutes.
screenshots: .stamps/build
	$(BIN)/python tests/screenshots.py

# The moving picture of README.md: `make demo` on a terminal, as it is now. Best made while the machine does nothing else.
picture: .stamps/build
	$(BIN)/python -m docs.picture docs/images/demo.svg

# The documentation as a site, in target/docs/site.
docs: .stamps/build
	PYTHONPATH=tests/fast $(BIN)/python -m docs.site

# What pip installs without a Rust toolchain, for this machine's processor and a C library as old as its own; tried in
# an environment of its own.
wheel: .stamps/venv
	rm -rf dist .stamps/wheel
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/maturin build --release --strip --out dist
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/maturin sdist --out dist
	$(PYTHON) -m venv .stamps/wheel
	.stamps/wheel/bin/pip install --quiet "$$(ls dist/*.whl)[broker]"
	cd .stamps && wheel/bin/wcsup --version
	@ls -l dist

# What a release has. The wheels are for Linux on two processors and a C library from 2.28 on, which is what the wheels of
# confluent-kafka need; zig links them, and a wheel for another processor than this machine's is tried where qemu-user is.
# The source is tried by building a wheel of it.
ARCHITECTURES ?= x86_64 aarch64
wheels: .stamps/release
	rm -rf dist .stamps/wheel .stamps/source .stamps/aarch64
	@for one in $(ARCHITECTURES); do \
	  rustup target add $$one-unknown-linux-gnu && PATH="$(abspath .stamps/release/bin):$$PATH" maturin build --release \
	    --strip --zig --compatibility manylinux_2_28 --target $$one-unknown-linux-gnu --out dist || exit 1; \
	done
	.stamps/release/bin/maturin sdist --out dist
	$(PYTHON) -m venv .stamps/wheel
	.stamps/wheel/bin/pip wheel --quiet --no-deps --wheel-dir .stamps/source dist/*.tar.gz
	.stamps/wheel/bin/pip install --quiet "$$(ls .stamps/source/*.whl)[broker]"
	cd .stamps && wheel/bin/wcsup --version
	.stamps/wheel/bin/pip install --quiet --force-reinstall --no-deps dist/*_$$(uname -m).whl
	cd .stamps && wheel/bin/wcsup --version
	@if [ "$$(uname -m)" != aarch64 ] && command -v qemu-aarch64 > /dev/null && command -v apt-get > /dev/null; then \
	  PATH="$(abspath .stamps/wheel/bin):$$PATH" deploy/try-aarch64.sh dist/*_aarch64.whl .stamps/aarch64; \
	else echo "the wheel for aarch64 is not tried: that takes qemu-user and apt-get"; fi
	@ls -l dist

# The locks have hashes and no address: pip takes packages from the index it is set up with. The first one has all that is
# worked with; of it, the second one has what is installed with wcsup, the third one what a release is built with.
LOCK := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header
lock: .stamps/venv
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --group dev --all-extras $(LOCK) --output-file requirements.txt --upgrade
	$(BIN)/uv pip compile pyproject.toml $(LOCK) --constraint requirements.txt --output-file deploy/requirements.txt
	$(BIN)/uv pip compile --group release $(LOCK) --constraint requirements.txt --output-file deploy/release.txt --upgrade
	cargo update
	cargo update --manifest-path rust/fuzz/Cargo.toml

clean:
	rm -rf $(VENV) .stamps dist target python/wcsup/_core*.so

.stamps/venv: requirements.txt
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes --only-binary :all: -r requirements.txt
	@mkdir -p .stamps && touch $@

.stamps/release: deploy/release.txt
	rm -rf $@
	$(PYTHON) -m venv $@
	$@/bin/pip install --quiet --require-hashes --only-binary :all: -r $<
	@touch $@

.stamps/cargo-fuzz:
	cargo install --quiet --locked --version 0.13.2 --root $@ cargo-fuzz

.stamps/build: .stamps/venv Cargo.toml Cargo.lock pyproject.toml README.md $(shell find rust -name fuzz -prune -o -name "*.rs" -print)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/pip install --quiet --no-build-isolation --no-deps --editable .
	@touch $@
