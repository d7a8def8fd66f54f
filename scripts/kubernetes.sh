#!/bin/sh
# Checks deploy/kubernetes and the chart in deploy/helm: that every overlay and the chart with all values of its ci/ can be built,
# and that what comes out is what Kubernetes expects. What a machine has not is skipped, and said.
#
#   scripts/kubernetes.sh            check
#   scripts/kubernetes.sh --write    write the alerts of deploy/prometheus/alerts.yaml into the manifest first
#   scripts/kubernetes.sh DIRECTORY  check this kustomization and no other, as an overlay of your own
#
# Checked: each resource against the schemas of the oldest and the newest supported version, unknown fields refused, and those of
# the Prometheus operator and of the Gateway API against their own. Not checked: what only a cluster knows, such as whether an image can be pulled.
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
chart=
if [ $# -eq 0 ]; then
    set -- deploy/kubernetes/base deploy/kubernetes/overlays/*
    chart=deploy/helm/leasehold
fi
for kustomization in "$@"; do
    $build "$kustomization" >"$built/$(basename "$kustomization").yaml" || {
        say "$kustomization cannot be built"
        exit 1
    }
done

if [ -n "$chart" ] && helm=$(scripts/helm.sh 2>"$log"); then
    for values in "$chart"/ci/*-values.yaml; do
        name=$(basename "$values" -values.yaml)
        "$helm" lint --strict --quiet --kube-version "$newest" "$chart" --values "$values" >"$log" 2>&1 &&
            "$helm" template seats "$chart" --namespace seats --kube-version "$newest" --values "$values" >"$built/chart-$name.yaml" 2>"$log" || {
            cat "$log" >&2
            say "the chart cannot be built with $values"
            exit 1
        }
    done
    # Names that there are not, values out of range, and what lacks something are refused.
    for wrong in replica=3 redis.maxmemory=half settings.secret=here secrets.adminKey=short secrets.redisUrl=; do
        if "$helm" template seats "$chart" --kube-version "$newest" --values "$chart/ci/plain-values.yaml" --set "$wrong" >/dev/null 2>&1; then
            say "the chart takes $wrong"
            exit 1
        fi
    done
elif [ -n "$chart" ]; then
    say "the chart is skipped: $(tail -n 1 "$log")"
fi

if [ ! -x "$tools/kubernetes-validate/bin/kubernetes-validate" ]; then
    if ! { python3 -m venv "$tools/kubernetes-validate" &&
        "$tools/kubernetes-validate/bin/python" -m pip install --quiet --disable-pip-version-check kubernetes-validate==1.37.0; } >"$log" 2>&1; then
        rm -rf "$tools/kubernetes-validate"
        say "overlays are built; schemas skipped: the Python package kubernetes-validate cannot be installed"
        exit 0
    fi
fi

# Resources of the operator and of gateways have schemas of their own, which the other ones do not know.
"$tools/kubernetes-validate/bin/python" - "$built" "$oldest" "$newest" >"$log" <<'PYTHON' || { cat "$log" >&2; exit 1; }
import json, pathlib, sys
import kubernetes_validate, yaml

built, *versions = sys.argv[1:]
wrong = False
for file in sorted(pathlib.Path(built).glob("*.yaml")):
    theirs = []
    for resource in filter(None, yaml.safe_load_all(file.read_text())):
        if resource["apiVersion"].startswith(("monitoring.coreos.com/", "gateway.networking.k8s.io/")):
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
        file.with_name(file.stem + "-theirs.json").write_text(json.dumps(theirs))
sys.exit(wrong)
PYTHON

theirs=$(find "$built" -name '*-theirs.json')
[ -n "$theirs" ] || exit 0
models=$tools/kubernetes-models
if [ ! -d "$models/node_modules/@kubernetes-models/gateway-api" ] && ! npm install --prefix "$models" --no-save --no-audit --no-fund --silent \
    --ignore-scripts @kubernetes-models/prometheus-operator@6 @kubernetes-models/gateway-api@2 >/dev/null 2>&1; then
    say "resources of the Prometheus operator and the Gateway API skipped: their schemas cannot be fetched with npm"
    exit 0
fi
cat >"$models/check.mjs" <<'NODE'
import { readFileSync } from 'node:fs';
import * as operator from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1';
import * as gateway from '@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1';
const models = { ...operator, ...gateway };
for (const file of process.argv.slice(2)) {
  for (const resource of JSON.parse(readFileSync(file))) {
    new models[resource.kind](resource).validate();
  }
}
NODE
# shellcheck disable=SC2086 # one or more, and none has a space in it
node "$models/check.mjs" $theirs || { say "a resource of the Prometheus operator or of the Gateway API is not valid"; exit 1; }
