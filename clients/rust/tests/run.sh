#!/bin/sh
# Runs one of the programs of the specification; without a word, says where they are built.
cd "$(dirname "$0")/../../.."
target=${LEASEHOLD_CLIENTS_RUST:-${CARGO_TARGET_DIR:-target}/clients-rust}
case $target in /*) ;; *) target=$PWD/$target ;; esac
[ $# -gt 0 ] || { echo "$target"; exit 0; }
program=$target/debug/examples/$1
shift
exec "$program" "$@"
