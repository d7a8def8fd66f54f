#!/bin/sh
# Holds the clients in clients/ against clients/spec, and says by scenario which passes. What a machine has not is skipped, and said.
#
#   scripts/clients.sh                    all clients: vectors, scenarios with a scripted server and with a real one. Writes the table into
#                                         clients/README.md, and tries four generators of clients
#   scripts/clients.sh --client python    one of them; further words are those of `python3 -m conformance`
set -eu
cd "$(dirname "$0")/.."

say() {
    printf 'clients: %s\n' "$*" >&2
}

if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    say "skipped: the runner needs Python 3.10 or later"
    exit 0
fi

# What the tests of the Python client need: of the machine, or else in an environment of its own.
needs='import cryptography, fastapi, gunicorn, uvicorn'
if ! python3 -c "$needs" 2>/dev/null; then
    home=${CARGO_TARGET_DIR:-target}/clients-python
    if [ -x "$home/bin/python3" ] || python3 -m venv "$home" >/dev/null 2>&1; then
        "$home/bin/python3" -c "$needs" 2>/dev/null || "$home/bin/pip" install --quiet -r clients/python/tests/requirements.txt >/dev/null 2>&1 || true
        PATH="$(cd "$home" && pwd)/bin:$PATH"
    fi
    python3 -c "$needs" 2>/dev/null || say "without some of: $needs. Proofs or web backends in Python are not tried"
fi

cargo build --locked --quiet --bin leasehold
cd clients/spec
export PYTHONDONTWRITEBYTECODE=1
python3 make_machine.py --check
python3 make_proofs.py --check
python3 -m unittest -q test_conformance
[ $# -eq 0 ] || exec python3 -m conformance "$@"
python3 -m conformance --table ../README.md
cd ../..
exec scripts/generators.sh --quick
