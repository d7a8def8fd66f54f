#!/bin/sh
# React for its scenario, and the tools of build.mjs. Where there is no registry, what needs them is skipped.
cd "$(dirname "$0")/.."
[ -d node_modules/react-test-renderer ] && [ -d node_modules/esbuild ] && exit 0
command -v npm >/dev/null || exit 0
npm_config_update_notifier=false npm ci --ignore-scripts --no-audit --no-fund --silent || echo "no React: its scenario is skipped" >&2
