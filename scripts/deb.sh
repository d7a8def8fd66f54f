#!/bin/sh
# Makes a Debian package: target/debian/leasehold_VERSION_ARCH.deb. The manual pages and completions in it are made by the
# program that is in it. PROGRAM is one that is built already, such as that of `make dist`.
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
target=${CARGO_TARGET_DIR:-target}
if [ -z "${PROGRAM:-}" ]; then
    cargo build --locked --profile shipped --bin leasehold
    PROGRAM=$target/shipped/leasehold
fi
# Where package.metadata.deb.assets in Cargo.toml has it.
if [ "$PROGRAM" != "$target/release/leasehold" ]; then
    mkdir -p "$target/release"
    cp "$PROGRAM" "$target/release/leasehold"
fi
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
repository=$(sed -n 's/^repository = "\(.*\)"/\1/p' Cargo.toml)
maintainer=$(sed -n 's/^maintainer = "\(.*\)"/\1/p' Cargo.toml)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH

# What Cargo.toml lists under package.metadata.deb.assets.
made=target/package
rm -rf "$made"
mkdir -p "$made/completions"
"$PROGRAM" man --out "$made/man"
gzip -9n "$made"/man/*
for shell in bash zsh fish; do
    "$PROGRAM" completions "$shell" >"$made/completions/$shell"
done
# A package's settings are where Debian has them, not in the directory where somebody happens to be. Secrets are files that its
# units hand over, so no line says where they are.
sed -e 's#^\# Copy to leasehold.toml and take#\# Take#' \
    -e 's#"./leasehold-data"#"/var/lib/leasehold"#' \
    -e 's#^\#\([a-z_]*\)_file = "/run/secrets/.*#\# In a file, under the units of this package: /etc/leasehold/secrets/\1, for root alone.#' \
    -e 's#secrets/signing_key,#secrets/signing_key_file,#' leasehold.example.toml >"$made/leasehold.toml"

mkdir -p "$made/doc/docs/runbooks"
cp README.md "$made/doc/"
cp docs/*.md "$made/doc/docs/"
cp docs/runbooks/*.md "$made/doc/docs/runbooks/"
scripts/links.sh "$made/doc"

gzip -9nc CHANGELOG.md >"$made/changelog.gz"
scripts/notices.sh "$made/NOTICES"
gzip -9n "$made/NOTICES"
{
    printf 'leasehold (%s-1) unstable; urgency=medium\n\n  * What changed is in changelog.gz.\n\n' "$version"
    printf ' -- %s  %s\n' "$maintainer" "$(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")"
} >"$made/changelog"
{
    cat <<COPYRIGHT
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: leasehold
Source: $repository
Comment: The program contains works of others: NOTICES.gz beside this file has
 their licences.

Files: *
Copyright: The Leasehold authors
License: Expat or Apache-2.0

License: Expat
COPYRIGHT
    sed -e 's/^$/./' -e 's/^/ /' LICENSE-MIT
    printf '\nLicense: Apache-2.0\n On Debian systems the whole text of this licence is in\n /usr/share/common-licenses/Apache-2.0.\n'
} >"$made/copyright"

"$deb" --no-build --locked --quiet
package=$(ls -t "$target"/debian/leasehold_*.deb | head -n 1)
if command -v lintian >/dev/null 2>&1; then
    lintian --fail-on error "$package" || { echo "deb: lintian finds errors in $package" >&2; exit 1; }
fi
echo "$package"
