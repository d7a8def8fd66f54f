#!/bin/sh
# Runs the unit tests of the alerts with promtool. Where there is none it is taken out of Debian's package, without installing
# that: it would start a server. Where that cannot be had either, the tests are skipped, and that is said.
set -eu
cd "$(dirname "$0")/../deploy/prometheus"

say() {
    printf 'lint: %s\n' "$*" >&2
}

promtool=$(command -v promtool) || {
    tools="${TOOLS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/leasehold/tools}/promtool"
    promtool="$tools/usr/bin/promtool"
    if [ ! -x "$promtool" ] && command -v apt-get >/dev/null 2>&1; then
        work=$(mktemp -d)
        trap 'rm -rf "$work"' EXIT
        # A machine without lists of packages has to fetch them first, which only root may.
        (cd "$work" && { apt-get download prometheus || { apt-get update && apt-get download prometheus; }; } &&
            dpkg-deb -x prometheus_*.deb tree && mkdir -p "$tools/usr/bin" && cp tree/usr/bin/promtool "$promtool") >/dev/null 2>&1 || true
    fi
}
if ! "$promtool" --version >/dev/null 2>&1; then
    say "alerts skipped: there is no promtool, and none could be fetched (apt-get install prometheus)"
    exit 0
fi

log=$(mktemp)
"$promtool" check config prometheus.yml >"$log" 2>&1 && "$promtool" test rules alerts.test.yaml alerts.weeks.test.yaml >"$log" 2>&1 || {
    cat "$log" >&2
    rm -f "$log"
    exit 1
}
rm -f "$log"
