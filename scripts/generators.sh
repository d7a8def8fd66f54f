#!/bin/sh
# Makes a client of the OpenAPI document with each of ten generators, compiles it, and runs a small program with it on a real node, through a
# proxy that adds members to every answer as a later release may. Says by generator what works. What a machine has not is skipped, and said.
#
#   scripts/generators.sh                 all ten, and what linters say of the document
#   scripts/generators.sh --quick         the four that take a few seconds each
#   scripts/generators.sh --write         all, and the table of what was shown into docs/api.md
#   scripts/generators.sh NAME...         these: openapi-typescript hey-api openapi-python-client oapi-codegen ogen
#                                         typescript-fetch python go java rust lint
#
# LEASEHOLD is the program to try, if it is not to be built.
set -eu
cd "$(dirname "$0")/.."
top=$PWD
case "${CARGO_TARGET_DIR:-}" in
    /*) target=$CARGO_TARGET_DIR ;;
    *) target=$top/${CARGO_TARGET_DIR:-target} ;;
esac
home=$target/generators
here=$top/clients/generated
oapi_codegen=v2.8.2 ogen=v1.25.0

quick="openapi-typescript hey-api openapi-python-client oapi-codegen"
all="$quick ogen typescript-fetch python go java rust lint"
write=no
case "${1:-}" in
    --quick) set -- $quick ;;
    --write) write=yes && set -- $all ;;
    "") set -- $all ;;
esac

say() {
    printf 'generators: %s\n' "$*" >&2
}
has() {
    command -v "$1" >/dev/null 2>&1
}
locked() { # package: its version in package-lock.json
    node -p 'JSON.parse(require("fs").readFileSync(process.argv[1])).packages["node_modules/" + process.argv[2]].version' "$here/package-lock.json" "$1"
}
pinned() { # package: its version in requirements.txt
    sed -n "s/^$1==//p" "$here/requirements.txt"
}

# Each tool comes from its own registry, into target/generators, when it is first needed. What was cut off halfway is begun again: the list
# of what is to be there is copied last.
npm_tools() { # folder of clients/generated whose package-lock.json it is
    has npm && has node || return 3
    tools=$home/npm/$1
    cmp -s "$here/$1/package-lock.json" "$tools/installed" && return
    mkdir -p "$tools"
    cp "$here/$1/package.json" "$here/$1/package-lock.json" "$tools/"
    (cd "$tools" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) || return 3
    cp "$here/$1/package-lock.json" "$tools/installed"
}
python_tools() {
    cmp -s "$here/requirements.txt" "$home/python/installed" && return
    rm -rf "$home/python"
    python3 -m venv "$home/python" && "$home/python/bin/pip" install --quiet -r "$here/requirements.txt" || return 3
    cp "$here/requirements.txt" "$home/python/installed"
}
go_tool() { # package@version
    has go || return 3
    GOBIN="$home/bin" GOFLAGS=-mod=mod go install "$1" || return 3
}
generator() {
    has java || return 3
    python_tools || return 3
    "$home/python/bin/openapi-generator-cli" "$@"
}
make_with_generator() { # name, further words
    name=$1
    shift
    generator generate -i "$document" -g "$name" -o "$made" "$@"
}

typescript() { # builds and runs a program whose client is in made/
    (cd "$work" && ln -sfn "$home/npm/node_modules" node_modules && cp "$here/tsconfig.json" . && printf '{"type":"module"}' >package.json)
    (cd "$work" && node_modules/.bin/tsc -p . --noEmit && node_modules/.bin/esbuild program.ts --bundle --platform=node --format=esm --log-level=warning --outfile=program.mjs)
    run node "$work/program.mjs"
}
golang() {
    (cd "$work" && GOFLAGS=-mod=mod go mod tidy && GOFLAGS=-mod=mod go build -o program .)
    run "$work/program"
}

client_openapi_typescript() {
    npm_tools . || return 3
    cp "$here/programs/openapi-typescript.ts" "$work/program.ts"
    "$home/npm/node_modules/.bin/openapi-typescript" "$document" -o "$made/schema.ts" && typescript
}
client_hey_api() {
    npm_tools . || return 3
    cp "$here/programs/hey-api.ts" "$work/program.ts"
    (cd "$work" && ln -sfn "$home/npm/node_modules" node_modules && "$home/npm/node_modules/.bin/openapi-ts" -i "$document" -o "$made") && typescript
}
client_typescript_fetch() {
    npm_tools . || return 3
    cp "$here/programs/typescript-fetch.ts" "$work/program.ts"
    make_with_generator typescript-fetch && typescript
}
client_openapi_python_client() {
    python_tools || return 3
    "$home/python/bin/openapi-python-client" generate --path "$document" --output-path "$made" --overwrite
    PYTHONPATH=$made run "$home/python/bin/python" "$here/programs/openapi-python-client.py"
}
client_python() {
    python_tools || return 3
    make_with_generator python
    PYTHONPATH=$made run "$home/python/bin/python" "$here/programs/python.py"
}
client_oapi_codegen() {
    go_tool github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@$oapi_codegen || return 3
    mkdir -p "$work/api"
    cp "$here/programs/oapi-codegen.go" "$work/main.go"
    printf 'module program\n\ngo 1.24\n' >"$work/go.mod"
    "$home/bin/oapi-codegen" -package api -generate types,client -o "$work/api/api.go" "$document" && golang
}
client_ogen() {
    go_tool github.com/ogen-go/ogen/cmd/ogen@$ogen || return 3
    cp "$here/programs/ogen.go" "$work/main.go"
    printf 'module program\n\ngo 1.24\n' >"$work/go.mod"
    "$home/bin/ogen" --target "$work/api" --package api --clean "$document" && golang
}
client_go() {
    has go || return 3
    cp "$here/programs/go.go" "$work/main.go"
    printf 'module program\n\ngo 1.24\n\nrequire github.com/GIT_USER_ID/GIT_REPO_ID v0.0.0\n\nreplace github.com/GIT_USER_ID/GIT_REPO_ID => ./made\n' >"$work/go.mod"
    make_with_generator go && rm -rf "$made/test" && golang
}
client_java() {
    has mvn || return 3
    make_with_generator java --library native
    cp "$here/programs/Program.java" "$made/src/main/java/"
    (cd "$made" && mvn -q -B -DskipTests -Dmaven.javadoc.skip=true package dependency:build-classpath -Dmdep.outputFile=classpath)
    # Maven colours its last line, and does not end it.
    echo
    run java -cp "$made/target/classes:$(cat "$made/classpath")" Program
}
client_rust() {
    make_with_generator rust
    mkdir -p "$work/src"
    cp "$here/programs/rust.rs" "$work/src/main.rs"
    # Without TLS: the node is on this machine.
    printf '[package]\nname = "program"\nedition = "2024"\n\n[dependencies]\nopenapi = { path = "made", default-features = false }\nserde_json = "1"\ntokio = { version = "1", features = ["macros", "rt"] }\n\n[workspace]\n' >"$work/Cargo.toml"
    cargo build --quiet --manifest-path "$work/Cargo.toml" --target-dir "$home/rust"
    run "$home/rust/debug/program"
}
client_lint() {
    npm_tools lint || return 3
    "$home/npm/lint/node_modules/.bin/redocly" lint --extends=recommended --format=json "$document" >"$work/redocly.json" 2>/dev/null || true
    node -e 'const {totals} = JSON.parse(require("fs").readFileSync(process.argv[1])); if (totals.errors + totals.warnings) { console.error(totals); process.exit(1); }' "$work/redocly.json"
    printf 'extends: ["spectral:oas"]\n' >"$work/spectral.yaml"
    "$home/npm/lint/node_modules/.bin/spectral" lint --ruleset "$work/spectral.yaml" --fail-severity=hint "$document"
    python_tools || return 3
    "$home/python/bin/openapi-spec-validator" "$document"
    generator validate --recommend -i "$document" >"$work/validated" || return
    # Its parser makes `nullable` of a null among the types, and then warns of it.
    notes=$(grep -v "'nullable' attribute is deprecated\|future releases" "$work/validated" | grep -c '^[[:space:]]*- ' || true)
    [ "$notes" = 0 ] || { cat "$work/validated"; return 1; }
    echo "pool_full ticket ann 1"
}
run() {
    "$@" "http://127.0.0.1:$later"
}

mkdir -p "$home/bin"
leasehold=${LEASEHOLD:-$target/debug/leasehold}
[ -n "${LEASEHOLD:-}" ] || cargo build --locked --quiet --bin leasehold
document=$home/openapi.json
"$leasehold" openapi >"$document"

node='' proxy='' data=$(mktemp -d)
end() {
    [ -z "$proxy" ] || kill "$proxy" 2>/dev/null || true
    # It takes its Redis along.
    [ -z "$node" ] || { kill "$node" 2>/dev/null && wait "$node"; } || true
    rm -rf "$data"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export LEASEHOLD_LISTEN="127.0.0.1:$port" LEASEHOLD_DATA_DIR="$data" LEASEHOLD_DRAIN_WAIT_MS=0
"$leasehold" serve >"$home/node.log" 2>&1 &
node=$!
tries=0
until "$leasehold" healthcheck --ready >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -lt 300 ] || { cat "$home/node.log" >&2; exit 1; }
    sleep 0.1
done
: >"$home/proxy.port"
python3 "$here/later_release.py" "http://127.0.0.1:$port" >"$home/proxy.port" &
proxy=$!
until [ -s "$home/proxy.port" ]; do
    kill -0 "$proxy" || exit 1
    sleep 0.1
done
later=$(cat "$home/proxy.port")

shown() { # name: a row for docs/api.md
    go_version=$(has go && go env GOVERSION | sed 's/^go/Go /')
    node_version=$(has node && node --version | sed 's/^v/Node.js /')
    python_version=$(python3 --version)
    typescript_version="TypeScript $(has node && locked typescript), $node_version"
    with_generator="openapi-generator $(pinned openapi-generator-cli)"
    case "$1" in
        openapi-typescript) printf '| openapi-typescript %s with openapi-fetch %s | %s' "$(locked openapi-typescript)" "$(locked openapi-fetch)" "$typescript_version" ;;
        hey-api) printf '| @hey-api/openapi-ts %s | %s' "$(locked @hey-api/openapi-ts)" "$typescript_version" ;;
        openapi-python-client) printf '| openapi-python-client %s | %s' "$(pinned openapi-python-client)" "$python_version" ;;
        oapi-codegen) printf '| oapi-codegen %s | %s' "${oapi_codegen#v}" "$go_version" ;;
        ogen) printf '| ogen %s | %s' "${ogen#v}" "$go_version" ;;
        typescript-fetch) printf '| %s: typescript-fetch | %s' "$with_generator" "$typescript_version" ;;
        python) printf '| %s: python | %s' "$with_generator" "$python_version" ;;
        go) printf '| %s: go | %s' "$with_generator" "$go_version" ;;
        java) printf '| %s: java, library native | %s' "$with_generator" "$(java --version | sed -n '1s/ [0-9-]*$//p'), $(mvn -v 2>/dev/null | sed -n '1s/\x1b\[[0-9;]*m//gp' | cut -d' ' -f1-3)" ;;
        rust) printf '| %s: rust | %s' "$with_generator" "$(rustc --version | cut -d' ' -f1,2)" ;;
    esac
}

failed=0 table=
for name; do
    work=$home/work/$name
    made=$work/made
    log=$home/$name.log
    rm -rf "$work"
    mkdir -p "$made"
    # A pool of its own for each: nobody else waits in it.
    "$leasehold" pool delete crm --yes --server "http://127.0.0.1:$port" >/dev/null 2>&1 || true
    begun=$(date +%s)
    set +e
    (set -e; "client_$(printf %s "$name" | tr - _)") >"$log" 2>&1
    rc=$?
    set -e
    said=$(tail -n 1 "$log")
    if [ $rc = 3 ]; then
        said="skipped: a tool of it is not on this machine and cannot be installed"
    elif [ $rc = 0 ] && [ "$said" = "pool_full ticket ann 1" ]; then
        said=works
    else
        said="FAILS, see $log"
        failed=1
    fi
    printf '%-24s %4d s  %s\n' "$name" $(($(date +%s) - begun)) "$said"
    [ "$name" = lint ] || table="$table$(shown "$name") | ${said%%, see*} |
"
done
if [ $write = yes ]; then
    TABLE=$table python3 - docs/api.md <<'END'
import os, pathlib, sys
path = pathlib.Path(sys.argv[1])
begin, end = "<!-- generators -->\n", "<!-- end of generators -->"
head, _, rest = path.read_text().partition(begin)
rows = "| generator | compiled and run with | |\n| --- | --- | --- |\n" + os.environ["TABLE"]
path.write_text(f"{head}{begin}\n{rows}\n{end}{rest.partition(end)[2]}")
END
fi
exit $failed
