#!/bin/sh
# Prints the path of cargo-deny, and builds it first if this machine has none. That takes some minutes, once for all working copies.
set -eu
version=0.20.2
tools="${TOOLS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/leasehold/tools}/cargo-deny-$version"

if [ -x "$tools/bin/cargo-deny" ]; then
    echo "$tools/bin/cargo-deny"
    exit 0
fi
if found=$(command -v cargo-deny); then
    echo "$found"
    exit 0
fi
echo "lint: building cargo-deny $version, once; this takes some minutes" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! cargo install --quiet --locked --root "$tools" --version "$version" cargo-deny >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "lint: cargo-deny cannot be built; install it with: cargo install --locked cargo-deny" >&2
    exit 1
fi
echo "$tools/bin/cargo-deny"
