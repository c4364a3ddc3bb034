#!/bin/bash
# Jobs of docs/how-to/slurm.sh, broken in mid-run: how they end, and whether the fit that SLURM then
# starts again is the unbroken one, bit for bit.
#
#   benchmarks/slurm_jobs.sh OUT.json [FOLDER]      # two nodes n1, n2; rights of SLURM's administrator
#
# SLURM itself waits two minutes before it starts a job again, so this takes a quarter of an hour. Two
# nodes may be one machine: lines NodeName=n[1-2] NodeHostname=… Port=[17001-17002] in slurm.conf,
# `slurmd -N n1`, `slurmd -N n2`, and both names in /etc/hosts.
set -euo pipefail
out=$(realpath "$1") folder=${2:-$(mktemp -d)}
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE HF_HUB_OFFLINE=1

# job NAME COMMAND …: a fit on both nodes; once it has saved a step, the command is run
job() {
    local name=$1 id
    shift
    id=$(sbatch --parsable --nodes=2 --ntasks-per-node=1 --gpus-per-node=0 --cpus-per-task=1 \
        --output="$folder/$name.log" docs/how-to/slurm.sh --config configs/quickstart.yaml \
        --run.root "$folder/runs" --run.save_every_n_steps 5 --run.sample_every_n_steps null \
        --data.train_limit 240 --data.val_limit 32 --data.accumulate_batches 1 \
        --trainer.log_every_n_steps 5 --trainer.enable_progress_bar false)
    until [ -f "$folder/runs/slurm-$id/last.ckpt" ]; do sleep 0.2; done
    "$@" "$id"
    while squeue --noheader --jobs "$id" --states PD,R,CG | grep -q .; do sleep 1; done
    scontrol show job "$id" >"$folder/$name.job"
    mv "$folder/runs/slurm-$id" "$folder/runs/$name"
}

kill_process() { # of the second node
    for pid in $(pgrep -f "bin/fitbot fit.*slurm-$1"); do
        grep -qz "^SLURM_PROCID=1$" "/proc/$pid/environ" && kill -KILL "$pid"
    done
}
fail_node() {
    scontrol update nodename=n2 state=down reason=benchmark
    sleep 5
    scontrol update nodename=n2 state=undrain 2>/dev/null || true
    scontrol update nodename=n2 state=idle 2>/dev/null || true
}
end_time() { scancel --signal=USR1 --batch "$1"; }

mkdir -p "$folder"
job unbroken true
job process_killed kill_process
job node_down fail_node
job time_is_up end_time
job requeued scontrol requeue
job cancelled scancel
python benchmarks/slurm_jobs.py "$folder" --out "$out"
