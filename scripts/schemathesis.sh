#!/bin/sh
# Requests that Schemathesis makes of the OpenAPI document, valid ones and others, and what a node answers.
#
#   scripts/schemathesis.sh               gets Schemathesis, where that is possible without a question
#   scripts/schemathesis.sh run PROGRAM   asks a node of this program; must run in a network namespace of its own
#
# Webhooks are among what is made, so nothing may leave: the namespace has no way out. Three checks are left out. Not every
# valid request is accepted, because rules between fields are in no schema; whether a route needs a key is what tests/it/roles.rs
# asks, with every kind of key; and a method that is no route gets the same answer as in tests/it/bad_input.rs.
set -eu
cd "$(dirname "$0")/.."
version=4.32.5
home=$PWD/.schemathesis

if [ "${1:-}" != run ]; then
    [ ! -x "$home/bin/st" ] || exit 0
    if command -v python3 >/dev/null 2>&1 && python3 -m venv "$home" >/dev/null 2>&1 &&
        "$home/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$version" >/dev/null 2>&1; then
        exit 0
    fi
    rm -rf "$home"
    echo "schemathesis: there is none, and none could be had: its test will be skipped" >&2
    exit 0
fi

program=$2
key=the-operator-key-of-generated-requests
work=$(mktemp -d)
node=
end() {
    [ -z "$node" ] || { kill "$node" && wait "$node"; } 2>/dev/null || true
    rm -rf "$work"
}
trap end EXIT
"$home/bin/python" - <<'UP'
import fcntl, socket, struct
# ip(8) is not everywhere. SIOCSIFFLAGS with IFF_UP and IFF_RUNNING.
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))
UP
env LEASEHOLD_LISTEN=127.0.0.1:7070 LEASEHOLD_DATA_DIR="$work/data" LEASEHOLD_ADMIN_KEY=$key LEASEHOLD_POOLS=crm=50 \
    "$program" serve --quiet >"$work/log" 2>&1 </dev/null &
node=$!
tries=0
until env LEASEHOLD_LISTEN=127.0.0.1:7070 "$program" healthcheck >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || { cat "$work/log"; exit 1; }
    sleep 0.1
done
cd "$work"
status=0
"$home/bin/st" --no-color run http://127.0.0.1:7070/v1/openapi.json -H "Authorization: Bearer $key" \
    --exclude-path-regex '/events$' --phases examples,coverage,fuzzing --max-examples "${EXAMPLES:-4}" --workers 2 \
    --seed "${SEED:-1}" --exclude-checks positive_data_acceptance,unsupported_method,ignored_auth --warnings off || status=$?
if ! kill -0 "$node" 2>/dev/null || grep -q 'panic at' "$work/log"; then
    cat "$work/log"
    status=1
fi
exit $status
