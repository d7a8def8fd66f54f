#!/bin/sh
# Makes a Debian package: target/debian/leasehold_VERSION_ARCH.deb. The manual pages and completions in it are made by the
# program that is in it.
set -eu
cd "$(dirname "$0")/.."

if ! command -v dpkg-shlibdeps >/dev/null 2>&1; then
    # Without it the package would not say which libraries it needs.
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
        { apt-get update && apt-get install -y --no-install-recommends dpkg-dev; } >/dev/null 2>&1 || true
    fi
    command -v dpkg-shlibdeps >/dev/null 2>&1 || {
        echo "deb: dpkg-dev is missing: apt-get install dpkg-dev" >&2
        exit 1
    }
fi

deb=$(scripts/cargo-tool.sh cargo-deb 3.8.0)
cargo build --locked --release --bin leasehold
target=${CARGO_TARGET_DIR:-target}
program=$target/release/leasehold

# What Cargo.toml lists under package.metadata.deb.assets.
made=target/package
rm -rf "$made"
mkdir -p "$made/completions"
"$program" man --out "$made/man"
gzip -9n "$made"/man/*
for shell in bash zsh fish; do
    "$program" completions "$shell" >"$made/completions/$shell"
done
# A package's settings are where Debian has them, not in the directory where somebody happens to be.
sed -e 's#^\# Copy to leasehold.toml and take#\# Take#' \
    -e 's#"./leasehold-data"#"/var/lib/leasehold"#' \
    -e 's#"/run/secrets/leasehold-\(.*\)"#"/etc/leasehold/secrets/\1"#' leasehold.example.toml >"$made/leasehold.toml"

"$deb" --no-build --locked --quiet
ls "$target"/debian/leasehold_*.deb
