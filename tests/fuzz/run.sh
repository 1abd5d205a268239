#!/usr/bin/env bash
# Runs the fuzzers, guided by coverage, each for so many seconds: run.sh [SECONDS [FUZZER...]]
# A finding ends the run; its input is kept and named. What is new in coverage is kept beside the build, see README.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds="${1:-600}"
shift || true
[ $# -gt 0 ] || set -- protocol statements rows

host="$(rustc -vV | sed -n 's/^host: //p')"
work="${CARGO_TARGET_DIR:-target}/fuzz"
# LLVM's coverage in what is fuzzed (`--target` keeps it out of build scripts), and every check that release builds leave out. Stable
# Rust knows these flags. There is no unsafe code of ours that an address sanitizer would have to watch.
flags="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
flags+=" -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions=yes"
RUSTFLAGS="$flags" CARGO_TARGET_DIR="$work" cargo build --release --locked --quiet --target "$host" -p coffer-fuzz --features engine

for fuzzer in "$@"; do
  corpus="$work/corpus/$fuzzer"
  findings="$work/findings/$fuzzer"
  mkdir -p "$corpus" "$findings"
  # A text that nobody reads twice has no use for being long; a whole backup as the server tells it has.
  longest=4096
  [ "$fuzzer" = protocol ] && longest=20000
  options=(-max_total_time="$seconds" -max_len="$longest" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1)
  [ -e "tests/fuzz/$fuzzer.dict" ] && options+=(-dict="tests/fuzz/$fuzzer.dict")
  echo "fuzz: $fuzzer for $seconds s"
  "$work/$host/release/fuzz-$fuzzer" "${options[@]}" -artifact_prefix="$findings/" "$corpus" "tests/fuzz/corpus/$fuzzer" \
    2> "$work/$fuzzer.log" || { tail -n 40 "$work/$fuzzer.log" >&2; echo "fuzz: $fuzzer found something: $findings" >&2; exit 1; }
  grep -E '(DONE|Done|stat::)' "$work/$fuzzer.log"
done
