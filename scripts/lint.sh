#!/bin/sh
# Everything that a reviewer should not have to say: form, lints, documentation and its language, dependencies. A warning is an error.
set -eu
cd "$(dirname "$0")/.."

say() {
    printf 'lint: %s\n' "$*" >&2
}

# A toolchain with the minimal profile has neither; the way to get them is the same everywhere.
for component in fmt:rustfmt clippy:clippy; do
    cargo "${component%%:*}" --version >/dev/null 2>&1 || rustup component add "${component##*:}" || {
        say "cargo ${component%%:*} is missing: rustup component add ${component##*:}"
        exit 1
    }
done

cargo fmt --check
cargo clippy --locked --all-targets --quiet -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items --quiet

scripts/alerts.sh
scripts/prose.sh

# The oldest Rust that is promised: what this code uses of the standard library is a lint of clippy's, what others ask for stands here.
scripts/msrv.sh

deny=$(scripts/cargo-tool.sh cargo-deny 0.20.2)
"$deny" --log-level warn check bans licenses sources

# The list of known vulnerabilities is a repository of its own, which not every machine can reach. Not being able to ask
# is said, and is no failure; an answer that is bad news is one.
limit=$(command -v timeout || true)
if ${limit:+"$limit" 120} "$deny" --log-level error fetch db >/dev/null 2>&1; then
    "$deny" --log-level warn check --disable-fetch advisories
else
    say "advisories skipped: the advisory database cannot be fetched"
fi

# A dependency that nothing uses is built by everybody.
machete=$(scripts/cargo-tool.sh cargo-machete 0.9.2)
unused=$("$machete" 2>&1) || {
    say "$unused"
    exit 1
}

scripts/kubernetes.sh
