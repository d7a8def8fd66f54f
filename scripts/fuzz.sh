#!/bin/sh
# Feeds the parsers random input: scripts/fuzz.sh [TARGET]. DURATION seconds of each (default 60). What leads to a crash is in fuzz/artifacts: copy it to
# fuzz/corpus/TARGET, which `make test` reads. Needs a nightly Rust and cargo-fuzz (`cargo install cargo-fuzz`).
set -eu
cd "$(dirname "$0")/.."
cargo +nightly fuzz --version >/dev/null 2>&1 || {
    echo "fuzz: needs a nightly Rust and cargo-fuzz: rustup toolchain install nightly; cargo install cargo-fuzz" >&2
    exit 1
}
# The same versions as the program has.
cp Cargo.lock fuzz/Cargo.lock
for target in ${1:-token key address redis_url}; do
    cargo +nightly fuzz run "$target" "fuzz/corpus/$target" -- -max_total_time="${DURATION:-60}"
done
