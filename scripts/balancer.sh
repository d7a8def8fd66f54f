#!/bin/sh
# Gets HAProxy for the tests of a rolling restart, where that is possible without a question. Without it these tests say that
# they were skipped.
set -eu

if command -v haproxy >/dev/null 2>&1; then
    exit 0
fi
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing haproxy for the tests of a rolling restart" >&2
    if (apt-get install -y --no-install-recommends haproxy ||
        { apt-get update && apt-get install -y --no-install-recommends haproxy; }) >/dev/null 2>&1; then
        exit 0
    fi
fi
echo "no haproxy, and none could be installed: the tests of a rolling restart will be skipped" >&2
