#!/bin/sh
# Checks that the oldest Rust of Cargo.toml (rust-version) is enough: no dependency asks for a newer one, and where that toolchain is
# installed (rustup toolchain install 1.89) the code is checked with it.
set -eu
cd "$(dirname "$0")/.."
oldest=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

cargo metadata --locked --format-version 1 | python3 -c '
import json, sys
oldest = tuple(map(int, sys.argv[1].split(".")))
wrong = []
for package in json.load(sys.stdin)["packages"]:
    wanted = package["rust_version"]
    if wanted and tuple(map(int, wanted.split(".")))[:2] > oldest:
        wrong.append("msrv: {name} {version} wants Rust {rust_version}, and Cargo.toml promises ".format(**package) + sys.argv[1])
print("\n".join(wrong), file=sys.stderr, end="\n" if wrong else "")
sys.exit(bool(wrong))
' "$oldest"

if rustup toolchain list 2>/dev/null | grep -q "^$oldest"; then
    CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/msrv" cargo "+$oldest" check --locked --quiet --all-targets
fi
