#!/bin/sh
# Gets what `make bench` measures with, from the machine's package manager: wrk, redis-benchmark and etcd. Then runs it.
#
# Without etcd its row is left out; without the others there is nothing to run. Arguments are passed on: see
# benches/limits/main.rs.
set -eu
cd "$(dirname "$0")/.."

say() {
    printf 'bench: %s\n' "$*" >&2
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@" </dev/null >/dev/null 2>&1
    else
        sudo -n "$@" </dev/null >/dev/null 2>&1
    fi
}

# The name of a package differs; the first that can be installed will do.
get() {
    program=$1
    shift
    for package in "$@"; do
        command -v "$program" >/dev/null 2>&1 && return 0
        say "installing $package"
        if command -v apt-get >/dev/null 2>&1; then
            as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$package" || {
                as_root apt-get update
                as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$package"
            } || continue
        elif command -v dnf >/dev/null 2>&1; then
            as_root dnf install -y "$package" || continue
        elif command -v apk >/dev/null 2>&1; then
            as_root apk add --no-cache "$package" || continue
        elif command -v pacman >/dev/null 2>&1; then
            as_root pacman -Sy --noconfirm "$package" || continue
        elif command -v brew >/dev/null 2>&1; then
            brew install "$package" >/dev/null 2>&1 || continue
        fi
    done
    command -v "$program" >/dev/null 2>&1
}

get wrk wrk || { say "there is no wrk, and none could be installed"; exit 1; }
get redis-benchmark redis-tools redis || { say "there is no redis-benchmark, and none could be installed"; exit 1; }
get etcd etcd-server etcd || true

# 10 000 connections and their other ends.
ulimit -n "$(ulimit -H -n)" 2>/dev/null || true
exec cargo bench --locked --bench limits -- "$@"
