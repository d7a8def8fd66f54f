#!/bin/sh
# Gets nginx, Caddy and Apache for the tests of proxies, where that is possible without a question: programs only, and none is
# started. Those of nginx and Caddy are taken out of Debian's packages, whose installation would start a server. What cannot be had
# is said, and its tests say that they were skipped.
set -eu
cd "$(dirname "$0")/.."
PATH="$PWD/.proxies/bin:$PATH"

say() {
    printf 'proxies: %s\n' "$*" >&2
}

is_there() {
    command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ]
}

# The program of a package, without installing that. A machine without lists of packages has to fetch them first.
extract() {
    package=$1 program=$2
    work=$(mktemp -d)
    (cd "$work" && { apt-get download "$package" || { apt-get update && apt-get download "$package"; }; } &&
        dpkg-deb -x "$package"_*.deb tree) >/dev/null 2>&1 || { rm -rf "$work"; return 1; }
    mkdir -p .proxies/bin
    cp "$work/tree/$program" .proxies/bin/
    rm -rf "$work"
}

is_there nginx || ! command -v apt-get >/dev/null 2>&1 || extract nginx usr/sbin/nginx || true
is_there caddy || ! command -v apt-get >/dev/null 2>&1 || extract caddy usr/bin/caddy || true
# The package with the program and its modules, without the one that runs it.
if ! is_there apache2 && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
    say "installing apache2-bin for the tests of proxies"
    { apt-get install -y --no-install-recommends apache2-bin ||
        { apt-get update && apt-get install -y --no-install-recommends apache2-bin; }; } </dev/null >/dev/null 2>&1 || true
fi
for program in nginx caddy apache2; do
    is_there "$program" || say "there is no $program, and none could be had: its tests will be skipped"
done
