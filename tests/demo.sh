#!/usr/bin/env bash
# Builds coffer and shows it on a throw-away MySQL server. Needs what `make demo` installs; leaves nothing behind.
set -euo pipefail
cd "$(dirname "$0")/.."
echo "==> Building coffer (the first time takes some minutes)"
cargo build --release --locked --workspace --bin coffer --bin coffer-demo
target="${CARGO_TARGET_DIR:-target}/release"
exec "$target/coffer-demo" "$target/coffer" tests/demo/manifests
