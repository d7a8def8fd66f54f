#!/bin/sh
# Asks a node what its description allows and what it does not, some thousand times, and holds each answer against the description:
# scripts/schemathesis.sh [OPTIONS OF SCHEMATHESIS]. The node runs in a network of its own, so that no webhook that is made up leaves it.
#
# Not checked is positive_data_acceptance: a schema cannot say that `from` comes before `to`, or that one of two fields is meant. Event
# streams are left out, because they do not end.
set -eu
cd "$(dirname "$0")/.."
version=4.32.5

say() {
    printf 'schemathesis: %s\n' "$*" >&2
}

home=${CARGO_TARGET_DIR:-target}/schemathesis-$version
if [ ! -x "$home/bin/schemathesis" ]; then
    if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
        say "skipped: it needs Python 3.10 or later"
        exit 0
    fi
    rm -rf "$home"
    if ! { python3 -m venv "$home" && "$home/bin/pip" install --quiet "schemathesis==$version"; } >/dev/null 2>&1; then
        rm -rf "$home"
        say "skipped: schemathesis $version cannot be installed with pip"
        exit 0
    fi
fi
if ! unshare --net --map-root-user ip link set lo up 2>/dev/null; then
    say "skipped: a network of its own needs unshare and ip, and the right to make one"
    exit 0
fi

cargo build --locked --quiet --bin leasehold
program=$(cd "${CARGO_TARGET_DIR:-target}/debug" && pwd)/leasehold
python=$(cd "$home/bin" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if ! PROGRAM=$program WORK=$work PYTHON=$python unshare --net --map-root-user sh -eu -c '
    ip link set lo up
    key=a-key-for-schemathesis
    cd "$WORK"
    LEASEHOLD_ADMIN_KEY=$key "$PROGRAM" serve --data-dir "$WORK/data" --pool crm=50 --pool full=0 --log error >node.log 2>&1 &
    node=$!
    trap "kill $node; wait $node || true" EXIT
    # A minute: a node that is not ready by then never will be.
    for _ in $(seq 120); do
        "$PROGRAM" healthcheck >/dev/null 2>&1 && break
        kill -0 $node
        sleep 0.5
    done
    "$PYTHON/schemathesis" run http://127.0.0.1:7070/v1/openapi.json --header "authorization: Bearer $key" \
        --checks all --exclude-checks positive_data_acceptance --exclude-path-regex "/events$" \
        --workers 2 --request-timeout 30 --seed 1 --max-examples 12 --continue-on-failure --warnings off "$@"
' schemathesis "$@" >"$work/said" 2>&1; then
    cat "$work/said"
    tail -n 20 "$work/node.log"
    exit 1
fi
grep -A 1 '^Test cases:' "$work/said" | tail -n 1 | sed 's/^ */schemathesis: /'
