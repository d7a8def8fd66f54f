#!/bin/sh
# Prints the path of helm, and builds it from Go's modules first if this machine has none: some minutes, once for all working copies.
# Exits with 1 and a line if it cannot be had. With --no-build it only looks.
set -eu
version=v3.22.0
tools="${TOOLS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/leasehold/tools}/helm-$version"

if [ -x "$tools/bin/helm" ]; then
    echo "$tools/bin/helm"
    exit 0
fi
if found=$(command -v helm); then
    echo "$found"
    exit 0
fi
if [ "${1:-}" = --no-build ]; then
    echo "helm: there is none; scripts/helm.sh builds one" >&2
    exit 1
fi
if ! command -v go >/dev/null 2>&1; then
    echo "helm: there is none, and no Go to build one with" >&2
    exit 1
fi
echo "building helm $version, once; this takes some minutes" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# Its modules and what is made of them are of no use afterwards, and large.
if ! GOBIN=$tools/bin GOFLAGS=-modcacherw GOMODCACHE=$tools/modules GOCACHE=$tools/build CGO_ENABLED=0 \
    go install -trimpath -ldflags '-s -w' "helm.sh/helm/v3/cmd/helm@$version" >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    rm -rf "$tools"
    echo "helm: it cannot be built here" >&2
    exit 1
fi
rm -rf "$tools/modules" "$tools/build"
echo "$tools/bin/helm"
