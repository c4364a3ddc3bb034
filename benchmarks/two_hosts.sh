#!/bin/bash
# Fits on two hosts by torchrun, one of which is lost in mid-run: what the other one says, after how
# long, and whether the fit that goes on from `last` is the unbroken one, bit for bit.
#
#   sudo benchmarks/two_hosts.sh OUT.json [LOST …]     # Linux, iproute2, the environment active
#   sudo GPUS="0 1" benchmarks/two_hosts.sh OUT.json process cut
#
# LOST is any of process, host, endpoint, restarted, cut; all of them by default. The hosts are two
# network namespaces with names and addresses of their own and a cable between them; they share this
# machine's disk, as the hosts of a cluster share a file system. With GPUS each host has one GPU, the
# compiled engine and NCCL, which takes them for two machines and talks over the cable.
set -euo pipefail
out=$(realpath "$1") folder=$(mktemp -d)
shift
[ $# -gt 0 ] || set -- process host endpoint restarted cut
read -ra gpus <<<"${GPUS:-}"
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE HF_HUB_OFFLINE=1
export GLOO_SOCKET_IFNAME=cable NCCL_SOCKET_IFNAME=cable
# There 60 steps would be over before anything is lost.
on_gpu="--trainer.accelerator gpu --trainer.precision bf16-mixed --model.engine compiled
    --trainer.max_epochs 10"

hosts() {
    for number in 1 2; do
        ip netns del fitbot$number 2>/dev/null || true
        rm -rf /etc/netns/fitbot$number
    done
    [ "$1" = gone ] && return
    for number in 1 2; do
        ip netns add fitbot$number
        mkdir -p /etc/netns/fitbot$number # `ip netns exec` lays these files over /etc
        printf '127.0.0.1 localhost\n10.77.0.1 fitbot1\n10.77.0.2 fitbot2\n' \
            >/etc/netns/fitbot$number/hosts
    done
    ip link add cable netns fitbot1 type veth peer name cable netns fitbot2
    for number in 1 2; do
        ip -n fitbot$number addr add 10.77.0.$number/24 dev cable
        ip -n fitbot$number link set cable up
        ip -n fitbot$number link set lo up
    done
}
trap 'hosts gone' EXIT

# on NUMBER COMMAND …: runs it on that host; with $apart, host 2 has another disk at that place
on() {
    local number=$1
    shift
    ip netns exec "fitbot$number" unshare --uts sh -c 'hostname "$0"
        [ "$0" = fitbot1 ] || [ -z "$apart" ] || mount -t tmpfs none "$apart"
        exec "$@"' "fitbot$number" "$@"
}

# fit NUMBER RUN [TORCHRUN-OPTION …]: the command that a user gives on every host, the same on all
fit() {
    local number=$1 run=$2
    shift 2
    [ ${#gpus[@]} = 0 ] || export CUDA_VISIBLE_DEVICES=${gpus[number - 1]}
    on "$number" torchrun --nnodes 2 --nproc-per-node 1 --rdzv-backend c10d --rdzv-id "$run" \
        --rdzv-endpoint fitbot1:29400 "$@" --no-python fitbot fit \
        --config configs/quickstart.yaml --ckpt_path last \
        --run.root "$folder/$run" --run.save_every_n_steps 5 --run.sample_every_n_steps null \
        --data.train_limit 240 --data.val_limit 32 --data.accumulate_batches 1 \
        --trainer.log_every_n_steps 5 --trainer.enable_progress_bar false \
        ${gpus:+$on_gpu} $options
}

# both RUN NAME [TORCHRUN-OPTION …]: starts it on both hosts; logs are RUN/NAME.1.log and .2.log
both() {
    local run=$1 name=$2 number
    shift 2
    mkdir -p "$folder/$run"
    for number in 1 2; do
        {
            status=0
            fit $number "$run" "$@" || status=$?
            echo "$status $(date +%s.%N)" >"$folder/$run/$name.$number.end"
        } >"$folder/$run/$name.$number.log" 2>&1 &
    done
}

# lose RUN COMMAND …: does it once the run has saved a step, and notes when
lose() {
    local saved=$folder/$1/quickstart
    shift
    until [ -f "$saved/last.ckpt" ] || [ -f "$saved/../first.1.end" ]; do sleep 0.1; done
    cp "$saved/last.ckpt" "$saved/../lost.ckpt"
    date +%s.%N >"$saved/../lost_at"
    "$@"
}

kill_fit() {
    for pid in $(ip netns pids "fitbot$1"); do
        [ "$(cat /proc/$pid/comm)" != fitbot ] || kill -KILL $pid
    done
}
kill_host() { ip netns pids "fitbot$1" | xargs -r kill -KILL; }
cut_cable() {
    ip -n fitbot2 link set cable down
    until [ -f "$folder/cut/first.1.end" ]; do sleep 0.1; done
    kill_host 2 # its torchrun waits for the other for longer than we do
    ip -n fitbot2 link set cable up
}

hosts new
options="" apart=""
export apart
both whole first && wait
if [ "$(cut -c1 "$folder"/whole/first.?.end)" != $'0\n0' ]; then
    echo "the unbroken fit failed: see $folder/whole/*.log" >&2
    exit 1
fi

for lost in "$@"; do
    case $lost in
    process)
        both process first && lose process kill_fit 2 && wait
        apart=$folder/process
        both process apart && wait # is refused, and spoils nothing
        apart=""
        ;;
    host) both host first && lose host kill_host 2 && wait ;;
    endpoint) both endpoint first && lose endpoint kill_host 1 && wait ;; # where torchrun's hosts meet
    restarted)
        # Without the variable both attempts write their addresses under the same names into one
        # store, and the second attempt's processes call those of the first.
        export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
        both restarted first --max-restarts 1 && lose restarted kill_fit 2 && wait
        unset TORCH_DISABLE_SHARE_RDZV_TCP_STORE
        ;;
    cut)
        options="--trainer.strategy fitbot.cluster.strategy.DataParallel --trainer.strategy.timeout 0:00:20"
        both cut first && lose cut cut_cable && wait
        ;;
    *)
        echo "nothing that can be lost: $lost" >&2
        exit 2
        ;;
    esac
    [ "$lost" = restarted ] || { both "$lost" again && wait; } # the same command, the same options
    options=""
done

python benchmarks/two_hosts.py "$folder" --out "$out"
