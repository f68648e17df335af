#!/usr/bin/env bash
# All tests: the workspace's own, and other programs (pyarrow, DuckDB) reading what we write.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo test --workspace
tests/outside/run.sh
