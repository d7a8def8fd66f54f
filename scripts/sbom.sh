#!/bin/sh
# Writes the bill of materials of the program (CycloneDX 1.5, JSON) to target/leasehold.cdx.json: every crate that the binary of TARGET
# (this machine's, without one) is made of, with version, licence and hash, as Cargo.lock has them. The same commit makes the same file.
set -eu
cd "$(dirname "$0")/.."

cyclonedx=$(scripts/cargo-tool.sh cargo-cyclonedx 0.5.9)
# A time and a random number would make two of the same commit differ.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || echo 0)
export SOURCE_DATE_EPOCH
"$cyclonedx" cyclonedx --quiet --format json --spec-version 1.5 --describe binaries --no-build-deps \
    --target "${TARGET:-$(rustc --print host-tuple)}"
made=$(ls -t leasehold*cdx.json | head -n 1)
mkdir -p target
# Nor where it was made.
sed "s|path+file://$PWD|path+file:///leasehold|g" "$made" >target/leasehold.cdx.json
rm "$made"
echo "target/leasehold.cdx.json"
