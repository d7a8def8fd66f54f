#!/bin/sh
# Looks at the language of the documents and of what --help prints: products in their own spelling, one word for one thing, no habits that
# read as translated. The rules are in scripts/prose/textlintrc.json. PATH... looks at these pages only.
set -eu
cd "$(dirname "$0")/.."
root=$PWD

say() {
    printf 'lint: %s\n' "$*" >&2
}

# Once for each lock file, next to what is built.
tools=$root/target/prose
if ! command -v npm >/dev/null 2>&1 || ! node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null; then
    say "the language of the documents is skipped: it needs npm and Node.js 20"
    exit 0
fi
if ! cmp -s scripts/prose/package-lock.json "$tools/installed"; then
    rm -rf "$tools"
    mkdir -p "$tools"
    cp scripts/prose/package.json scripts/prose/package-lock.json "$tools/"
    (cd "$tools" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) >&2 || {
        say "the language of the documents is skipped: textlint cannot be fetched with npm"
        exit 0
    }
    cp scripts/prose/package-lock.json "$tools/installed"
fi
cp scripts/prose/textlintrc.json "$tools/.textlintrc.json"

if [ $# -eq 0 ]; then
    # Tables of performance.md are written by `make bench`, and those of chaos.md by `make chaos`.
    # shellcheck disable=SC2046 # names without blanks
    set -- README.md CONTRIBUTING.md CODE_OF_CONDUCT.md SECURITY.md CHANGELOG.md \
        $(find docs -maxdepth 1 -name "*.md" ! -name performance.md ! -name chaos.md | sort) docs/runbooks/*.md deploy/*/README.md deploy/helm/*/README.md \
        clients/spec/README.md clients/go/README.md clients/java/README.md clients/js/README.md clients/python/README.md clients/rust/README.md
    # The comments that become --help and the manual: a page for each file, with its lines where they were.
    rm -rf "$tools/help"
    find src/cli src/cli.rs src/config.rs src/config/choices.rs -name '*.rs' ! -name 'tests.rs' | while read -r file; do
        mkdir -p "$tools/help/$(dirname "$file")"
        sed -n -e 's,^ *///[ ]\{0\,1\},,p' -e t -e 's,.*,,p' "$file" >"$tools/help/$file.md"
    done
    set -- "$@" "$tools/help"
fi
pages=
for page; do
    case $page in
    /*) pages="$pages $page" ;;
    *) pages="$pages $root/$page" ;;
    esac
done

# textlint looks for rules where it runs. The cache knows pages that have not changed since they were found to be right.
# shellcheck disable=SC2086 # names without blanks
found=$(cd "$tools" && node_modules/.bin/textlint --cache --cache-location cache -f unix $pages 2>&1) || {
    printf '%s\n' "$found" | sed -e "s,^$tools/help/\(.*\)\.md:,\1:," -e "s,^$root/,," >&2
    exit 1
}
