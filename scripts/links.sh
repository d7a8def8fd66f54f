#!/bin/sh
# Makes the links of documents that are shipped lead somewhere: where one leads to what is not in DIRECTORY, it leads to the repository.
#
#   scripts/links.sh DIRECTORY
set -eu
root=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
repository=$(sed -n 's/^repository = "\(.*\)"/\1/p' Cargo.toml)

(cd "$root" && find . -name '*.md') | sed 's,^\./,,' | while read -r page; do
    PAGE=$page ROOT=$root ELSEWHERE=$repository/blob/v$version perl -pi -e '
        BEGIN {
            use File::Basename;
            our $folder = dirname($ENV{PAGE});
            sub lead {
                my ($to, $anchor) = @_;
                my @path;
                for (split m{/}, ($folder eq "." ? "" : "$folder/") . $to) {
                    next if $_ eq "." or $_ eq "";
                    $_ eq ".." ? pop @path : push @path, $_;
                }
                my $path = join "/", @path;
                return -e "$ENV{ROOT}/$path" ? "$to$anchor" : "$ENV{ELSEWHERE}/$path$anchor";
            }
        }
        s{\]\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)}{"](" . lead($1, $2 // "") . ")"}ge' "$root/$page"
done
