#!/usr/bin/env bash
# Replaces each corpus by the smallest set of inputs, old ones and those of earlier runs, that reaches the same code: keep.sh [FUZZER...]
set -euo pipefail
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || set -- protocol statements rows

host="$(rustc -vV | sed -n 's/^host: //p')"
work="${CARGO_TARGET_DIR:-target}/fuzz"
for fuzzer in "$@"; do
  program="$work/$host/release/fuzz-$fuzzer"
  [ -x "$program" ] || { echo "keep: run tests/fuzz/run.sh 1 $fuzzer first, which builds it" >&2; exit 1; }
  kept="$work/kept/$fuzzer"
  rm -rf "$kept"
  mkdir -p "$kept" "$work/corpus/$fuzzer"
  # Places in the code, not how often each is reached: that would keep thousands of inputs.
  "$program" -set_cover_merge=1 -use_counters=0 "$kept" "tests/fuzz/corpus/$fuzzer" "$work/corpus/$fuzzer" 2> "$work/$fuzzer.keep.log"
  rm -rf "tests/fuzz/corpus/$fuzzer"
  cp -r "$kept" "tests/fuzz/corpus/$fuzzer"
  echo "keep: $fuzzer: $(find "tests/fuzz/corpus/$fuzzer" -type f | wc -l) inputs, $(du -bs "tests/fuzz/corpus/$fuzzer" | cut -f1) bytes"
done
