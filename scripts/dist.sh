#!/bin/sh
# Makes what a release consists of, in target/dist: the program, static; the package for Debian; the images; the chart; for each the bill
# of materials of that very program; and a file with the checksums of all. What this machine cannot make is said and left out.
#
# TARGET chooses that of the program: the musl one of this machine if it is installed, else that of this machine, static too.
# PROGRAM is one that is built already.
set -eu
cd "$(dirname "$0")/.."

say() {
    printf 'dist: %s\n' "$*" >&2
}

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
host=$(rustc --print host-tuple)
if [ -z "${TARGET:-}" ]; then
    TARGET=$host
    musl=$(echo "$host" | sed 's/-gnu$/-musl/')
    if [ -d "$(rustc --print sysroot)/lib/rustlib/$musl" ] && command -v musl-gcc >/dev/null 2>&1; then
        TARGET=$musl
    fi
fi
export TARGET
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
LEASEHOLD_REVISION=${LEASEHOLD_REVISION:-$(git rev-parse HEAD 2>/dev/null || echo unknown)}
export SOURCE_DATE_EPOCH LEASEHOLD_REVISION

target=${CARGO_TARGET_DIR:-target}
if [ -z "${PROGRAM:-}" ]; then
    CARGO_PROFILE_SHIPPED_STRIP=symbols RUSTFLAGS="-C target-feature=+crt-static" \
        cargo build --locked --profile shipped --bin leasehold --target "$TARGET"
    PROGRAM=$target/$TARGET/shipped/leasehold
    if ldd "$PROGRAM" 2>/dev/null | grep -q '=>'; then
        say "$PROGRAM is not static"
        exit 1
    fi
fi

dist=target/dist
rm -rf "$dist"
mkdir -p "$dist"
name=leasehold-$version-$TARGET

scripts/sbom.sh >/dev/null
cp target/leasehold.cdx.json "$dist/$name.cdx.json"

tree=$dist/tree/$name
mkdir -p "$tree/completions"
cp "$PROGRAM" "$tree/leasehold"
cp README.md CHANGELOG.md SECURITY.md LICENSE-MIT LICENSE-APACHE leasehold.example.toml "$tree/"
cp -r docs deploy "$tree/"
scripts/links.sh "$tree"
cp "$dist/$name.cdx.json" "$tree/leasehold.cdx.json"
scripts/notices.sh "$tree/NOTICES" >/dev/null
"$PROGRAM" man --out "$tree/man"
for shell in bash zsh fish; do
    "$PROGRAM" completions "$shell" >"$tree/completions/$shell"
done
# The same commit makes the same file.
tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner -C "$dist/tree" -c "$name" | gzip -9n >"$dist/$name.tar.gz"
rm -rf "$dist/tree"

if command -v dpkg-deb >/dev/null 2>&1; then
    printed=$(PROGRAM=$PROGRAM scripts/deb.sh) || {
        say "the package cannot be made: $printed"
        exit 1
    }
    cp "$(printf '%s\n' "$printed" | tail -n 1)" "$dist/"
else
    say "no package: this is no Debian"
fi

if docker version >/dev/null 2>&1 && [ -z "${NO_IMAGE:-}" ]; then
    for image in leasehold demo; do
        stage='' tag=leasehold:$version
        [ $image = leasehold ] || { stage="--target demo" tag=leasehold-demo:$version; }
        # shellcheck disable=SC2086 # two words or none
        if docker build --quiet $stage --build-arg "VERSION=$version" --build-arg "REVISION=$LEASEHOLD_REVISION" --tag "$tag" . >/dev/null; then
            docker save "$tag" | gzip -9n >"$dist/$image-$version-image.tar.gz"
        else
            say "no image $tag: docker cannot build it here"
        fi
    done
else
    say "no images: no engine answers"
fi

if helm=$(scripts/helm.sh 2>/dev/null); then
    "$helm" package deploy/helm/leasehold --destination "$dist" >/dev/null
    mv "$dist/leasehold-$version.tgz" "$dist/leasehold-chart-$version.tgz"
else
    say "no chart: there is no helm"
fi

# Not into the file while its folder is read: it would be one of them.
sums=$(cd "$dist" && sha256sum ./* | sed 's, \./, ,')
printf '%s\n' "$sums" >"$dist/SHA256SUMS"
ls -l "$dist" >&2
