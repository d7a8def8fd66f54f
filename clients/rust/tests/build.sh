#!/bin/sh
# Builds the programs of the specification, without TLS, which no scenario needs. Never into this directory.
cd "$(dirname "$0")/.."
exec env CARGO_TARGET_DIR="$(sh tests/run.sh)" cargo build --locked --quiet --no-default-features --features blocking,verify --examples
