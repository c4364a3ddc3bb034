#!/bin/bash
#SBATCH --job-name=fitbot
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4          # a process for each GPU; fitbot takes both numbers from here
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --requeue                    # queue again when a host fails or the job is preempted
#SBATCH --open-mode=append           # and go on with the same log
#SBATCH --output=fitbot-%j.log
#SBATCH --signal=B:USR1@180          # tell this script, and nobody else, 3 minutes before the end
#
#   sbatch docs/how-to/slurm.sh --config dpo --run.root /shared/runs
#
# Any end that is not the fit's own is followed by another start from last.ckpt, three at most.
set -uo pipefail

again() {
    [ "${SLURM_RESTART_COUNT:-0}" -lt 3 ] || { echo "$1, after three restarts: giving up"; return; }
    echo "$1: queueing the job again"
    scontrol requeue "$SLURM_JOB_ID"
}
trap 'again "the time is up"; exit 0' USR1

# Without --kill-on-bad-exit the others would wait for a process that is gone.
# The name comes last: a config's own would win, and jobs would go on with each other's runs.
srun --kill-on-bad-exit=1 fitbot fit "$@" --run.name "slurm-$SLURM_JOB_ID" --ckpt_path last &
wait $!
status=$?
# 2 is a command line that fitbot refuses, which another start will not mend.
[ $status -eq 0 ] || [ $status -eq 2 ] || again "fitbot ended with $status"
exit $status
