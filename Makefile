# Everything a developer runs. CONTRIBUTING.md says when.

PREFIX  ?= /usr/local
DESTDIR ?=
# mount(8) looks for helpers here and nowhere else.
SBINDIR ?= /sbin

CARGO   ?= cargo
TARGET   = $(or $(CARGO_TARGET_DIR),target)
RELEASE  = $(TARGET)/release
# What `make build` writes beside the programs: completions and manual pages.
SHARE    = $(RELEASE)/share

# One set of packages for `build`, `demo` and `bench`: another set has other features of shared
# dependencies, and cargo would compile those a second time.
PACKAGES = -p lfsfs-cli -p lfsfs-server -p lfsfs-benches

.PHONY: help build programs setup demo demo-cluster test check deny bench soak fuzz install

help:
	@echo 'make build             the programs, optimised, with completions and manual pages'
	@echo 'make install           copy what make build made (PREFIX, DESTDIR)'
	@echo 'make demo [DIR=...]    import, mount and compare a directory on this machine'
	@echo 'make demo-cluster      kill two of five datanodes while a mount is read; watch repair'
	@echo 'make test              all tests that end within minutes'
	@echo 'make check             format, lints, layers, documentation'
	@echo 'make soak              the long tests, and fuzz'
	@echo 'make fuzz              each fuzz target for a minute (FUZZ_SECONDS)'
	@echo 'make bench             figures beside ext4, tar and zstd'
	@echo 'make setup             what all of these need on this machine'

build:
	@.ci/setup build
	@$(MAKE) --no-print-directory programs

programs:
	$(CARGO) build --locked --release $(PACKAGES)
	@$(RELEASE)/lfsfs documents $(SHARE)
	@$(RELEASE)/lfsfsd documents $(SHARE)

setup:
	@.ci/setup

demo:
	@.ci/setup demo
	@$(MAKE) --no-print-directory programs
	@$(RELEASE)/demo $(if $(DIR),"$(DIR)")

demo-cluster:
	@.ci/setup demo
	@$(MAKE) --no-print-directory programs
	@$(RELEASE)/demo --cluster

# The tests that start processes need the programs. They are built here, with the features that the
# tests are built with, and the tests are told not to build them again with others.
test: setup
	$(CARGO) build --locked --workspace --bins --tests
	LFSFS_TEST_PROGRAMS=built $(CARGO) test --locked --workspace

# Long tests carry `#[ignore = "soak: ..."]`.
soak: setup
	$(CARGO) build --locked --release --workspace --bins --tests
	LFSFS_TEST_PROGRAMS=built $(CARGO) test --locked --release --workspace -- --ignored
	@$(MAKE) --no-print-directory fuzz

# Each fuzz target for FUZZ_SECONDS, 60 if that is not set.
fuzz:
	@.ci/setup fuzz
	@CARGO='$(CARGO)' tests/fuzz/run

bench: setup programs
	$(RELEASE)/bench

check: deny
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) run --locked --quiet -p xtask -- tidy
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --workspace --no-deps --document-private-items

# Advisories are left out: they need the network, and a new one must not break an old commit.
deny:
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
		$(CARGO) deny --offline --locked check bans licenses sources; \
	else \
		echo 'skipped: cargo-deny is not installed (dependencies, licences)'; \
	fi

# Copies and does not build: root often has no cargo.
install:
	@for file in lfsfs lfsfsd share/man/man1/lfsfs.1; do \
		[ -e '$(RELEASE)'/$$file ] || \
			{ echo "install: $(RELEASE)/$$file is not there: run make build first" >&2; exit 1; }; \
	done
	install -D -m 755 $(RELEASE)/lfsfs '$(DESTDIR)$(PREFIX)/bin/lfsfs'
	install -D -m 755 $(RELEASE)/lfsfsd '$(DESTDIR)$(PREFIX)/bin/lfsfsd'
	install -d '$(DESTDIR)$(SBINDIR)'
	ln -sfn '$(PREFIX)/bin/lfsfs' '$(DESTDIR)$(SBINDIR)/mount.lfsfs'
	for unit in lfsfsd lfsfsd-coordinator lfsfsd-datanode; do \
		sed 's|/usr/local/bin|$(PREFIX)/bin|' dist/systemd/$$unit.service \
			| install -D -m 644 /dev/stdin '$(DESTDIR)$(PREFIX)'/lib/systemd/system/$$unit.service || exit; \
	done
	install -D -m 644 dist/lfsfsd.toml '$(DESTDIR)$(PREFIX)/share/doc/lfsfs/lfsfsd.toml'
	for file in grafana-lfsfs.json prometheus-lfsfs.rules.yml; do \
		install -D -m 644 dist/$$file '$(DESTDIR)$(PREFIX)'/share/doc/lfsfs/$$file || exit; \
	done
	cd $(SHARE) && find . -type f -exec install -D -m 644 '{}' '$(abspath $(DESTDIR)$(PREFIX))/share/{}' ';'
