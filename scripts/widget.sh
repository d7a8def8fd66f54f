#!/bin/sh
# Tests the widget client: its states, its types, and the client in real browsers; and the example of a webhook receiver. What a machine has not is skipped, and said.
#
#   scripts/widget.sh         what takes seconds, and two minutes for each browser that there is
#   scripts/widget.sh long    pages that are hidden for minutes, with the browsers' throttling on
set -eu
cd "$(dirname "$0")/.."

say() {
    printf 'widget: %s\n' "$*" >&2
}

if ! command -v node >/dev/null 2>&1 || [ "$(node -p 'process.versions.node.split(".")[0]')" -lt 20 ]; then
    say "skipped: the tests of the widget client need Node.js 20 or later"
    exit 0
fi

node=${CARGO_TARGET_DIR:-target}/debug/leasehold
export LEASEHOLD="$node"
# Before version 22 Node.js has a WebSocket, which Firefox is driven by, only on request.
websocket=
[ "$(node -p 'process.versions.node.split(".")[0]')" -ge 22 ] || websocket=--experimental-websocket
report='--test-reporter=spec'

if [ "${1:-}" = long ]; then
    cargo build --locked --quiet --bin leasehold
    exec node $websocket --test $report web/client/tests/browsers/long.test.js
fi

node --test $report web/client/tests/leasehold.test.js web/client/tests/webhook-receiver.test.js

# What is served is made of clients/js/src, and committed. The tools for it are fetched for this test only.
sh clients/js/tests/install.sh
if [ -d clients/js/node_modules/esbuild ]; then
    node clients/js/build.mjs --check
else
    say "not checked whether the files in web/client are current: esbuild could not be fetched"
fi
if [ -d clients/js/node_modules/typescript ]; then
    clients/js/node_modules/.bin/tsc --strict --noEmit --target es2022 --module nodenext --moduleResolution nodenext \
        --lib es2022,dom,esnext.disposable --types node --typeRoots clients/js/node_modules/@types web/client/tests/types.ts clients/js/tests/types.ts
    say "types checked"
else
    say "types skipped: typescript could not be fetched"
fi

cargo build --locked --quiet --bin leasehold
short="node $websocket --test $report web/client/tests/browsers/short.test.js"
# A browser that does not start, or is starved on a busy machine, is not the client's fault. One that fails twice is.
$short || { say "a test in a browser failed; all of them once more"; $short; }
