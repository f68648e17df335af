#!/usr/bin/env bash
# All tests: the workspace's own, and other programs (pyarrow, DuckDB) reading what we write. Ends with how long each part took and
# what was skipped, and why. With SAE_REQUIRE=all nothing may be skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

SAE_SKIPPED=$(mktemp)
export SAE_SKIPPED
times=()
failed=()
part() {
    local name=$1 start=$SECONDS
    shift
    "$@" || failed+=("$name")
    times+=("$(printf '%5d s  %s' $((SECONDS - start)) "$name")")
}

# The test `real_models` reports a skip where this fails.
part "fetching a real model" bash -c 'tests/models/fetch.sh || echo "no model was fetched" >&2'
# The test `probe` reports a skip where this fails.
part "fetching prompts" bash -c 'tests/probe/fetch.sh || echo "no prompts were fetched" >&2'
# Python packages come while the compiler works.
outside=$(mktemp -d)
tests/outside/prepare.sh "$outside" &
preparing=$!
part "building the tests" cargo test --workspace --no-run
if [ ${#failed[@]} -gt 0 ]; then
    kill $preparing 2>/dev/null || true
    rm -rf "$outside"
    exit 1
fi
part "tests of the workspace" cargo test --workspace --no-fail-fast
wait $preparing || true
part "other programs" tests/outside/run.sh "$outside"
part "licences and sources" tests/supply/run.sh

printf '\n'
printf '%s\n' "${times[@]}"
skipped=$(sort -u "$SAE_SKIPPED")
rm "$SAE_SKIPPED"
echo "${skipped:-nothing was skipped}"
if [ "${SAE_REQUIRE:-}" = all ] && [ -n "$skipped" ]; then failed+=("skips, which SAE_REQUIRE=all forbids"); fi
if [ ${#failed[@]} -gt 0 ]; then
    printf 'FAILED: %s\n' "${failed[@]}"
    exit 1
fi
