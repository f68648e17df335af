#!/usr/bin/env bash
# A one-node Slurm cluster on this machine (Debian: slurmctld slurmd slurm-client munge; root), and a harvest in shards as an array job
# with one task killed on the way. Run by hand: it starts daemons, which it ends.
#
#     tests/outside/slurm.sh PATH_OF_SAE
set -euo pipefail
cd "$(dirname "$0")/../.."
sae=$(realpath "$1")
files=$PWD/docs/scale-out

work=$(mktemp -d)
chmod 755 "$work"
mkdir -p "$work/state" "$work/spool" /run/munge
export SLURM_CONF=$work/slurm.conf
cat >"$SLURM_CONF" <<CONF
ClusterName=one
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
SlurmctldPort=26817
SlurmdPort=26818
MailProg=/bin/true
ReturnToService=2
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
CONF

[ -f /etc/munge/munge.key ] || /usr/sbin/mungekey --create
chown -R munge: /run/munge /etc/munge
runuser -u munge -- /usr/sbin/munged --foreground --socket /run/munge/munge.socket.2 >"$work/munged.log" 2>&1 &
munge=$!
slurmctld -D >"$work/ctld.out" 2>&1 &
controller=$!
slurmd -D >"$work/slurmd.out" 2>&1 &
node=$!
trap 'kill $node $controller $munge 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
for _ in $(seq 60); do
    [ "$(sinfo -h -o %t 2>/dev/null)" = idle ] && break
    sleep 1
done
sinfo

cd "$work"
mkdir text
for i in $(seq 240); do
    printf '{"text": "%s"}\n' "$(for j in $(seq 30); do printf 'Line %d of day %d: the river was long. ' "$j" $((i * j % 97)); done)"
done >text/a.jsonl
harvest="$sae harvest --text text --hook blocks.1.hook_resid_post --batch-rows 1"
job=$(sbatch --parsable --array=0-3 "$files/shards.sbatch" $harvest --out parts)
# One task loses its process: Slurm puts it into the queue again, and it continues.
until [ "$(squeue -h -j "${job}_1" -o %t)" = R ] && [ -e parts/shard-00001-of-00004/journal.json ]; do sleep 0.1; done
scontrol requeue "${job}_1" 2>/dev/null && echo "task 1 was killed and put into the queue again" || echo "task 1 had ended already"
merge=$(sbatch --parsable --dependency="afterok:$job" "$files/merge.sbatch" "$sae" harvest --merge --out parts)
for _ in $(seq 400); do
    [ -z "$(squeue -h)" ] && break
    sleep 1
done
squeue
cat "merge-$merge.log"

# The same shards, one process after the other.
for i in 0 1 2 3; do $harvest --shard $i/4 --out alone --quiet >/dev/null; done
"$sae" harvest --merge --out alone --quiet >/dev/null
for table in parts/*.parquet; do cmp "$table" "alone/$(basename "$table")"; done
echo "Slurm: 4 shards, the same $(ls parts/*.parquet | wc -l) files bit for bit"
