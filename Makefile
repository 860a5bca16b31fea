# The commands of a developer; scripts/test and .ci/run use the same ones. `make` shows them.

.PHONY: help build format check-format clippy shellcheck unit check bench test demo

help: ## show this
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 16

build: ## target/release/mk
	cargo build --release --locked

format: ## format the Rust sources
	cargo fmt

check-format: ## is everything formatted?
	cargo fmt --check

clippy: ## lint the Rust sources
	cargo clippy --locked --all-targets -- -D warnings

# Recipes that are no makefiles, and whatever else in scripts and packages is shell: by suffix or by first line.
shellcheck: ## lint recipes and scripts
	shellcheck $$(find pkg scripts .ci -type f \( -path 'pkg/*/build' ! -exec grep -qE -m 1 '^#!.*make' {} \; -o -name '*.sh' \
		-o -exec grep -qE -m 1 '^#!.*[ /](ba|da)?sh' {} \; \) -print | sort)

unit: ## unit and integration tests
	cargo test --locked --no-fail-fast

bench: ## measure mk beside its peers, in five minutes
	scripts/bench --quick

check: check-format clippy shellcheck unit ## all that needs no machine to boot

test: ## everything, from the preparation to a booted system
	scripts/test

demo: ## build a system and log in to it
	scripts/demo
