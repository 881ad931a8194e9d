# Everything a developer or a pipeline runs. `make help` lists it; what is behind each is a script in daemon/sim/tools.
# Build products and tools live outside the checkout, so that they survive it.

CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/postern
CARGO_TARGET_DIR ?= $(CACHE)/target
SECONDS_EACH ?= 60
# Miri follows the compiler, so there is none for the stable one. By date, so that a run today and one next year are the same.
MIRI_TOOLCHAIN ?= nightly-2026-05-20
VENV := $(CACHE)/venv
PYTHON := $(VENV)/bin/python
TOOLS := daemon/sim/tools
export CACHE CARGO_TARGET_DIR MIRI_TOOLCHAIN

.DEFAULT_GOAL := help
.PHONY: help setup build check test test-appliance peers demo deb image bench soak fuzz arm64 miri clean

help: ## this list
	@echo "Postern. Build products: $(CARGO_TARGET_DIR)"
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install what is missing of the pinned tools, saying what and why
	@$(TOOLS)/setup build peers

build: ## posternd and postern, for use (release)
	@$(TOOLS)/setup build
	cargo build --locked --release -p posternd -p postern
	@echo "built: $(CARGO_TARGET_DIR)/release/posternd $(CARGO_TARGET_DIR)/release/postern"

check: ## the quick part of the tests: format, clippy, unit and simulated-world tests
	@$(TOOLS)/setup build
	@$(TOOLS)/test format clippy units

test: ## everything: format, clippy, units, simulated world, systemd unit, Yocto layer, acceptance kit, real peers, Debian package
	@$(TOOLS)/setup build peers package
	@$(TOOLS)/test format clippy units systemd yocto hwtests image peers package

peers: ## only the tests against real peers; ARGS goes to pytest (make peers ARGS='-k hold -x')
	@$(TOOLS)/setup build peers
	@$(TOOLS)/test peers -- $(ARGS)

demo: ## a real carrier calls a real phone through Postern, twice; ladder, events, figures
	@$(TOOLS)/setup build peers
	cargo build --locked --release -p posternd -p postern
	@cd daemon/sim && POSTERN_BIN=$(CARGO_TARGET_DIR)/release $(PYTHON) -m demo

deb: ## a Debian package, for Debian 12 and 13
	@$(TOOLS)/setup build package
	cargo build --locked --release -p posternd -p postern
	@image/deb/build $(VERSION)

image: ## the appliance's disk image and the files of its update (root; VERSION, UPDATE_KEYS, OVER)
	@$(TOOLS)/setup build package image
	cargo build --locked --release -p posternd -p postern
	@image/deb/build
	@image/disk/build $(or $(VERSION),$(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)) "$$(ls -t $(CACHE)/deb/postern_*.deb | head -1)" $(OVER)

test-appliance: ## the image in an emulated machine: calls, watchdog, updates, power loss, acceptance kit (root, an hour and more; no part of `test`)
	@$(TOOLS)/setup build peers package image
	@$(TOOLS)/test image appliance

bench: ## the relay and signaling against rtpengine, into docs/PERFORMANCE.md
	@$(TOOLS)/setup build peers bench
	@$(TOOLS)/bench $(ARGS)

soak: ## an hour of calls that come and go (SOAK_MINUTES=60, SOAK_RATE=200): memory, descriptors, legs and ports must come back; no part of `test`
	@$(TOOLS)/setup build peers
	@BENCH=bench.soak $(TOOLS)/bench $(ARGS)

fuzz: ## the fuzz targets, for longer than the tests run them (SECONDS_EACH=60)
	@$(TOOLS)/setup build
	cargo run --locked --release -p postern-sim --bin fuzz -- $(SECONDS_EACH) $(ARGS)

arm64: ## types, facts and the protocols without C, built for ARM64 and tested under user emulation; no part of `test`
	@$(TOOLS)/setup build arm64
	@$(TOOLS)/test arm64

miri: ## the tests of the code that is `unsafe`, as far as no kernel or C library is asked, under Miri (a nightly toolchain is installed for it); no part of `test`
	@$(TOOLS)/setup build miri
	@$(TOOLS)/test miri

clean: ## build products; the installed tools and the virtual environment stay
	cargo clean
