#!/bin/sh
# Prints the path of a tool that comes as a crate, and builds it first if this machine has none. That takes some minutes, once for all
# working copies.
#
#   scripts/cargo-tool.sh cargo-deny 0.20.2
set -eu
tool=$1
version=$2
tools="${TOOLS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/leasehold/tools}/$tool-$version"

if [ -x "$tools/bin/$tool" ]; then
    echo "$tools/bin/$tool"
    exit 0
fi
if found=$(command -v "$tool"); then
    echo "$found"
    exit 0
fi
echo "building $tool $version, once; this takes some minutes" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! cargo install --quiet --locked --root "$tools" --version "$version" "$tool" >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "$tool cannot be built; install it with: cargo install --locked $tool" >&2
    exit 1
fi
echo "$tools/bin/$tool"
