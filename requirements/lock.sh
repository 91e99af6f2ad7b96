#!/bin/sh
# Resolve pyproject.toml into requirements/<layer>.lock, with hashes, for every Python and machine we support.
#
# usage: requirements/lock.sh [--upgrade]
#
# Each layer is resolved under the pins of those before it, so that all of them fit into one environment.
set -eu
cd "$(dirname "$0")/.."
upgrade=${1:-}

# shellcheck disable=SC2086 # $upgrade is one option or none
compile() {
    .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' $upgrade "$@"
}

compile pyproject.toml --extra all --group build --output-file requirements/run.lock
set -- --constraints requirements/run.lock
for layer in test servers docs bench uv; do
    compile --group "$layer" "$@" --output-file "requirements/$layer.lock"
    set -- "$@" --constraints "requirements/$layer.lock"
done
