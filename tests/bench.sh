#!/usr/bin/env bash
# Builds coffer and the benchmark, and runs it: tests/bench.sh [--size 2GiB] [--runs 3] [--only backup,restore,table,sandbox,load] [--json].
# Needs what `make bench` installs; leaves nothing behind.
set -euo pipefail
cd "$(dirname "$0")/.."
# The whole workspace chooses the features, so that `make test` finds what was compiled here.
cargo build --release --locked --workspace --bin coffer --bin coffer-bench >&2
target="${CARGO_TARGET_DIR:-target}/release"
exec "$target/coffer-bench" --coffer "$target/coffer" "$@"
