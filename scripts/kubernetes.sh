#!/bin/sh
# Checks deploy/kubernetes: that every overlay can be built, and that what comes out is what Kubernetes expects. What a machine
# has not is skipped, and said.
#
#   scripts/kubernetes.sh          check
#   scripts/kubernetes.sh --write  write the alerts of deploy/prometheus/alerts.yaml into the manifest first
#
# Checked: each resource against the schemas of the oldest and the newest supported version, unknown fields refused, and those of
# the Prometheus operator against its own. Not checked: what only a cluster knows, such as whether an image can be pulled.
set -eu
cd "$(dirname "$0")/.."

# The oldest that the manifests are for, and the newest that the schemas know.
oldest=1.29
newest=1.37
tools="${TOOLS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/leasehold/tools}"

say() {
    printf 'kubernetes: %s\n' "$*" >&2
}

alerts=deploy/prometheus/alerts.yaml
rule=deploy/kubernetes/components/monitoring/prometheusrule.yaml
manifest() {
    cat <<'HEAD'
# Made of deploy/prometheus/alerts.yaml by `make kubernetes`: change it there.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: leasehold
spec:
HEAD
    sed -e '/^#/d' -e 's/^\(.\)/  \1/' "$alerts"
}
if [ "${1:-}" = --write ]; then
    manifest >"$rule"
elif ! manifest | cmp -s - "$rule"; then
    say "$rule is not what $alerts says; run make kubernetes"
    exit 1
fi

if command -v kubectl >/dev/null 2>&1; then
    build="kubectl kustomize"
elif command -v kustomize >/dev/null 2>&1; then
    build="kustomize build"
else
    say "skipped: there is no kubectl and no kustomize to build the overlays with"
    exit 0
fi
built=target/kubernetes
mkdir -p "$built"
for kustomization in deploy/kubernetes/base deploy/kubernetes/overlays/*; do
    $build "$kustomization" >"$built/$(basename "$kustomization").yaml"
done

validate=$tools/kubernetes-validate/bin/kubernetes-validate
if [ ! -x "$validate" ]; then
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    if ! { python3 -m venv "$tools/kubernetes-validate" &&
        "$tools/kubernetes-validate/bin/python" -m pip install --quiet --disable-pip-version-check kubernetes-validate==1.37.0; } >"$log" 2>&1; then
        rm -rf "$tools/kubernetes-validate"
        say "overlays are built; schemas skipped: the Python package kubernetes-validate cannot be installed"
        exit 0
    fi
fi

# Resources of the operator have schemas of their own, which the other ones do not know.
"$tools/kubernetes-validate/bin/python" - "$built" <<'PYTHON'
import pathlib, sys, yaml
for file in pathlib.Path(sys.argv[1]).glob("*.yaml"):
    if file.stem.endswith("-operator"):
        continue
    resources = [r for r in yaml.safe_load_all(file.read_text()) if r]
    theirs = [r for r in resources if r["apiVersion"].startswith("monitoring.coreos.com/")]
    ours = [r for r in resources if r not in theirs]
    file.write_text(yaml.safe_dump_all(ours, sort_keys=False))
    operator = file.with_name(file.stem + "-operator.yaml")
    operator.unlink(missing_ok=True)
    if theirs:
        operator.write_text(yaml.safe_dump_all(theirs, sort_keys=False))
        import json
        file.with_name(file.stem + "-operator.json").write_text(json.dumps(theirs))
PYTHON
for version in $oldest $newest; do
    for file in "$built"/*.yaml; do
        case $file in *-operator.yaml) continue ;; esac
        "$validate" --strict --quiet --no-warn -k "$version" "$file" || {
            say "$file is not valid for Kubernetes $version"
            exit 1
        }
    done
done

models=$tools/prometheus-operator-models
if [ ! -d "$models/node_modules" ] && ! npm install --prefix "$models" --no-save --no-audit --no-fund --silent \
    @kubernetes-models/prometheus-operator@6 >/dev/null 2>&1; then
    say "resources of the Prometheus operator skipped: their schemas cannot be fetched with npm"
    exit 0
fi
cat >"$models/check.mjs" <<'NODE'
import { readFileSync } from 'node:fs';
import * as models from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1';
for (const file of process.argv.slice(2)) {
  for (const resource of JSON.parse(readFileSync(file))) {
    new models[resource.kind](resource).validate();
  }
}
NODE
node "$models/check.mjs" "$built"/*-operator.json || { say "a resource of the Prometheus operator is not valid"; exit 1; }
