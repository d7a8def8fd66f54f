#!/bin/sh
# Gets a headless browser for the tests of the admin pages, where that is possible without a question. Without one these
# tests say that they were skipped.
set -eu

if command -v chromedriver >/dev/null 2>&1; then
    exit 0
fi
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing chromium and its driver for the tests of pages" >&2
    if (apt-get update && apt-get install -y --no-install-recommends chromium chromium-driver) >/dev/null 2>&1; then
        exit 0
    fi
fi
echo "no chromedriver, and none could be installed: the tests of pages will be skipped" >&2
