#!/usr/bin/env bash
# Formatting, clippy, documentation and, where cargo-deny is installed, licences and duplicate dependencies.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fmt --all --check
cargo clippy --release --workspace --all-targets --locked -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps --locked --quiet
if cargo deny --version >/dev/null 2>&1; then
  cargo deny check bans licenses sources
else
  echo "lint: cargo-deny is not installed; licences and duplicates were not checked (cargo install cargo-deny --locked)" >&2
fi
