# Thin on purpose: each line calls cargo or a script in tests/.
# Seconds for each fuzzer.
TIME ?= 600

.PHONY: help demo test bench fuzz lint fmt toolchain tools

help: ## Say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: toolchain ## Install what is needed, then back up and restore a real MySQL server, from nothing
	tests/tools/mysql.sh
	tests/demo.sh

test: toolchain tools ## Run every test, against real servers
	cargo test --release --workspace --locked

bench: ## Measure against mysqldump and restic, some 40 minutes; BENCH="--size 100MiB --runs 1" for a short look
	tests/tools/all.sh wasm-target mysql restic
	tests/bench.sh $(BENCH)

fuzz: ## Run each fuzzer for TIME seconds, guided by coverage
	tests/fuzz/run.sh $(TIME)

lint: ## Formatting, clippy, documentation, dependencies
	tests/lint.sh

fmt: ## Format the code
	cargo fmt --all

toolchain: ## Make sure that guests can be compiled
	tests/tools/wasm-target.sh

tools: ## Install the servers and tools that the tests use, outside this directory
	tests/tools/all.sh
