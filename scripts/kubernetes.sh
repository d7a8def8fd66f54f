#!/bin/sh
# Checks deploy/kubernetes: that every overlay can be built, and that what comes out is what Kubernetes expects. What a machine
# has not is skipped, and said.
#
#   scripts/kubernetes.sh            check
#   scripts/kubernetes.sh --write    write the alerts of deploy/prometheus/alerts.yaml into the manifest first
#   scripts/kubernetes.sh DIRECTORY  check this kustomization and no other, as an overlay of your own
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
    shift
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
built=$(mktemp -d)
log=$built/log
trap 'rm -rf "$built"' EXIT
[ $# -gt 0 ] || set -- deploy/kubernetes/base deploy/kubernetes/overlays/*
for kustomization in "$@"; do
    $build "$kustomization" >"$built/$(basename "$kustomization").yaml" || {
        say "$kustomization cannot be built"
        exit 1
    }
done

if [ ! -x "$tools/kubernetes-validate/bin/kubernetes-validate" ]; then
    if ! { python3 -m venv "$tools/kubernetes-validate" &&
        "$tools/kubernetes-validate/bin/python" -m pip install --quiet --disable-pip-version-check kubernetes-validate==1.37.0; } >"$log" 2>&1; then
        rm -rf "$tools/kubernetes-validate"
        say "overlays are built; schemas skipped: the Python package kubernetes-validate cannot be installed"
        exit 0
    fi
fi

# Resources of the operator have schemas of their own, which the other ones do not know.
"$tools/kubernetes-validate/bin/python" - "$built" "$oldest" "$newest" >"$log" <<'PYTHON' || { cat "$log" >&2; exit 1; }
import json, pathlib, sys
import kubernetes_validate, yaml

built, *versions = sys.argv[1:]
wrong = False
for file in sorted(pathlib.Path(built).glob("*.yaml")):
    theirs = []
    for resource in yaml.safe_load_all(file.read_text()):
        if resource["apiVersion"].startswith("monitoring.coreos.com/"):
            theirs.append(resource)
            continue
        name = f"{file.stem}: {resource['kind']} {resource['metadata']['name']}"
        for version in versions:
            try:
                kubernetes_validate.validate(resource, version, strict=True)
            except kubernetes_validate.SchemaNotFoundError:
                wrong = True
                print(f"kubernetes: {name}: Kubernetes {version} has no such kind in {resource['apiVersion']}")
            except kubernetes_validate.ValidationError as error:
                wrong = True
                path = ".".join(str(step) for step in error.path)
                print(f"kubernetes: {name}: not valid for Kubernetes {version} at {path}: {error.message}")
    if theirs:
        file.with_name(file.stem + "-operator.json").write_text(json.dumps(theirs))
sys.exit(wrong)
PYTHON

operator=$(find "$built" -name '*-operator.json')
[ -n "$operator" ] || exit 0
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
# shellcheck disable=SC2086 # one or more, and none has a space in it
node "$models/check.mjs" $operator || { say "a resource of the Prometheus operator is not valid"; exit 1; }
