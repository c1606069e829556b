# Everything a developer runs. CONTRIBUTING.md says when.

PREFIX  ?= /usr/local
DESTDIR ?=
# mount(8) looks for helpers here and nowhere else.
SBINDIR ?= /sbin

CARGO   ?= cargo
TARGET   = $(or $(CARGO_TARGET_DIR),target)
RELEASE  = $(TARGET)/release

.PHONY: help build setup demo test check deny bench soak install

help:
	@echo 'make build             the two programs, optimised'
	@echo 'make demo [DIR=...]    import, mount and compare a directory on this machine'
	@echo 'make test              all tests that end within minutes'
	@echo 'make check             format, lints, layers, documentation'
	@echo 'make soak              the long tests'
	@echo 'make bench             figures beside ext4, tar and zstd'
	@echo 'make install           lfsfs, lfsfsd and mount.lfsfs (PREFIX, DESTDIR)'
	@echo 'make setup             what all of these need on this machine'

build:
	$(CARGO) build --locked --release -p lfsfs-cli -p lfsfs-server

setup:
	@.ci/setup

demo: setup build
	$(CARGO) run --locked --release -p lfsfs-benches --bin demo -- $(if $(DIR),"$(DIR)")

# The tests that start processes need the programs, which `cargo test` alone does not build.
test: setup
	$(CARGO) build --locked --workspace --bins
	$(CARGO) test --locked --workspace

# Long tests carry `#[ignore = "soak: ..."]`.
soak: setup
	$(CARGO) build --locked --release --workspace --bins
	$(CARGO) test --locked --release --workspace -- --ignored

bench: setup build
	$(CARGO) run --locked --release -p lfsfs-benches --bin bench

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

install: build
	install -D -m 755 $(RELEASE)/lfsfs '$(DESTDIR)$(PREFIX)/bin/lfsfs'
	install -D -m 755 $(RELEASE)/lfsfsd '$(DESTDIR)$(PREFIX)/bin/lfsfsd'
	install -d '$(DESTDIR)$(SBINDIR)'
	ln -sfn '$(PREFIX)/bin/lfsfs' '$(DESTDIR)$(SBINDIR)/mount.lfsfs'
	sed 's|/usr/local/bin|$(PREFIX)/bin|' dist/systemd/lfsfsd.service | install -D -m 644 /dev/stdin '$(DESTDIR)$(PREFIX)/lib/systemd/system/lfsfsd.service'
