#!/usr/bin/env bash
# Runs the tests that deal with dates at other hours than now: around midnights, on a Sunday evening, at the end of a month and
# of a year, on the days on which clocks change. The clock of the tests, of their nodes and of their Redis is moved
# (tests/it/chaos/clock.c), that of the machine is not. Prints a table; the output of what failed is in target/hours.
#
#   scripts/hours.sh                    all instants, and the modules below
#   scripts/hours.sh history:: rules::  other modules
#   AT='sunday-evening new-year' scripts/hours.sh   some of the instants
set -euo pipefail
cd "$(dirname "$0")/.."

[ $# -gt 0 ] || set -- history:: rules:: alerts:: admin_pages:: dates::

target=${CARGO_TARGET_DIR:-target}
logs=$target/hours
mkdir -p "$logs"
cc -shared -fPIC -O2 -o "$logs/clock.so" tests/it/chaos/clock.c

day_after() { # the next day of that name, not today
    date -u -d "$1 +1 week" +%F
}
month_end() {
    date -u -d "$(date -u +%Y-%m-01) +1 month -1 day" +%F
}
# The last Sunday of March for Europe, the second for New York, of next year: both are ahead on every day of this one.
year=$(($(date -u +%Y) + 1))
sunday_from() { # the first Sunday on or after a day
    date -u -d "$1 +$(((7 - $(date -u -d "$1" +%u)) % 7)) days" +%F
}

# Name and instant, UTC. Long enough before a midnight that it passes while tests run.
instants=(
    "saturday-night $(day_after saturday)T23:50:00Z"
    "sunday-evening $(day_after sunday)T18:30:00Z"
    "sunday-midnight $(day_after sunday)T23:58:00Z"
    "monday-first $(day_after monday)T00:01:00Z"
    "wednesday-noon $(day_after wednesday)T12:00:00Z"
    "month-end $(month_end)T23:58:00Z"
    "summer-europe $(sunday_from "$year-03-25")T00:59:00Z"
    "summer-new-york $(sunday_from "$year-03-08")T06:59:00Z"
    "winter-europe $(sunday_from "$year-10-25")T00:59:00Z"
    "leap-day $((year + (4 - year % 4) % 4))-02-29T23:58:00Z"
    "new-year $((year - 1))-12-31T23:58:00Z"
)

program=$(cargo test --locked --test it --no-run --message-format=json --quiet |
    sed -n 's/.*"name":"it".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
failed=0
printf '%-16s %-21s %s\n' WHEN "STARTS AT" RESULT
for instant in "${instants[@]}"; do
    read -r name at <<<"$instant"
    case " ${AT:-$name} " in *" $name "*) ;; *) continue ;; esac
    echo $((($(date -u -d "$at" +%s) - $(date -u +%s)) * 1000)) >"$logs/$name.offset"
    if TEST_CLOCK_FILE=$(realpath "$logs/$name.offset") LD_PRELOAD=$(realpath "$logs/clock.so") \
        "$program" "$@" >"$logs/$name.log" 2>&1; then
        result=$(sed -n 's/^test result: //p' "$logs/$name.log")
    else
        failed=1
        result="FAILED: $(sed -n 's/^    \([a-z0-9_]*::[a-z0-9_:]*\)$/\1/p' "$logs/$name.log" | sort -u | tr '\n' ' ')"
    fi
    printf '%-16s %-21s %s\n' "$name" "$at" "$result"
done
exit $failed
