#!/usr/bin/env bash
# Shards by GNU parallel: N shards, JOBS at a time, each tried up to five times, then the merge. More machines: add `--sshlogin`.
#
#     parallel.sh N JOBS "sae train --config sweep.toml --out sweep" "sae train --config sweep.toml --merge --out sweep"
set -euo pipefail
n=$1 jobs=$2 command=$3 merge=$4
parallel --halt soon,fail=1 --retries 5 --jobs "$jobs" "$command --shard {}/$n --threads 1 --quiet" ::: $(seq 0 $((n - 1)))
exec $merge
