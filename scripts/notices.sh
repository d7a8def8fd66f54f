#!/bin/sh
# Writes the licences of all crates that the program is made of, as their authors ask for: which crate has which, and each text once.
#
#   scripts/notices.sh target/package/NOTICES
#
# TARGET is that of the program, that of this machine without one. The same commit makes the same file.
set -eu
cd "$(dirname "$0")/.."
to=$1
target=${TARGET:-$(rustc --print host-tuple)}
registry=${CARGO_HOME:-$HOME/.cargo}/registry/src
mkdir -p "$(dirname "$to")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cargo tree --locked --edges normal --prefix none --target "$target" --format '{p}|{l}' | sed 's, (\*)$,,' >"$work/tree"
sed -n 's/^\([^ ]*\) v\([^ |]*\)[^|]*|\(.*\)$/\1 \2 \3/p' "$work/tree" | sort -u | grep -v '^leasehold ' >"$work/crates"
[ -s "$work/crates" ] || { echo "notices: no crates were found" >&2; exit 1; }

: >"$work/list"
: >"$work/sums"
: >"$work/texts"
while read -r name version licence; do
    numbers=
    for text in "$registry"/*/"$name-$version"/*; do
        case $(basename "$text" | tr '[:lower:]' '[:upper:]') in
            LICENSE* | LICENCE* | COPYING* | COPYRIGHT* | NOTICE* | UNLICENSE*) [ -f "$text" ] || continue ;;
            *) continue ;;
        esac
        sum=$(cksum <"$text")
        number=$(grep -n -x -F "$sum" "$work/sums" | head -n 1 | cut -d: -f1)
        if [ -z "$number" ]; then
            echo "$sum" >>"$work/sums"
            number=$(grep -c . "$work/sums")
            { printf '\n\n======== [%s]\n\n' "$number" && cat "$text"; } >>"$work/texts"
        fi
        case " $numbers " in *" [$number] "*) ;; *) numbers="$numbers [$number]" ;; esac
    done
    # One without a text of its own is under the standard text that it names; all of those are below.
    echo "$name $version: $licence${numbers:+,}$numbers" >>"$work/list"
done <"$work/crates"

{
    echo "Leasehold contains the following works of others. In front of each list of numbers is the licence that its authors name (SPDX); the"
    echo "numbers are those of the texts below. Where there is none, the standard text of that licence holds."
    echo
    cat "$work/list" "$work/texts"
} >"$to"
echo "$to: $(grep -c . "$work/list") crates, $(grep -c . "$work/sums") texts"
