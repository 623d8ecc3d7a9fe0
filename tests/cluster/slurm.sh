#!/bin/sh
# A Slurm cluster of two nodes, kgan-n1 and kgan-n2, on this machine, for the tests.
#
#   tests/cluster/slurm.sh start DIR    then: export SLURM_CONF=DIR/slurm.conf; srun -N2 hostname
#   tests/cluster/slurm.sh stop DIR
#
# Needs root, and Debian's slurm-wlm, munge and iproute2. DIR must not exist: everything that is written is below it.
# Each node is a network namespace with an address of its own; they meet on a bridge. `stop` removes them.
set -eu
PATH=$PATH:/usr/sbin:/sbin
nodes="1 2"
net=10.213.77
action=${1-} dir=${2-}

configure() {
    cat > "$dir/slurm.conf" <<CONF
ClusterName=kgan-tests
SlurmctldHost=$(hostname -s)($net.254)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket
CredType=cred/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool-%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd-%n.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=60
CONF
    echo "127.0.0.1 localhost" > "$dir/hosts"
    for node in $nodes; do
        echo "NodeName=kgan-n$node NodeAddr=$net.$node CPUs=4" >> "$dir/slurm.conf"
        echo "$net.$node kgan-n$node" >> "$dir/hosts"
    done
    echo "PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE" >> "$dir/slurm.conf"
}

start_node() {
    name=kgan-n$1
    ip netns add "$name"
    ip link add "kgan-v$1" type veth peer name eth0 netns "$name"
    ip link set "kgan-v$1" master kgan-bridge up
    ip -n "$name" link set lo up
    ip -n "$name" link set eth0 up
    ip -n "$name" address add "$net.$1/24" dev eth0
    nsenter --net="/run/netns/$name" unshare --mount --uts sh -c "
        hostname $name
        mount --bind '$dir/hosts' /etc/hosts
        exec slurmd -N $name -f '$dir/slurm.conf'"
}

start() {
    mkdir -m 755 "$dir"
    dir=$(cd "$dir" && pwd)
    mkdir "$dir/state"
    head -c 128 /dev/urandom > "$dir/munge.key"
    chmod 400 "$dir/munge.key"
    configure
    munged --force --socket="$dir/munge.socket" --key-file="$dir/munge.key" --pid-file="$dir/munged.pid" \
        --log-file="$dir/munged.log" --seed-file="$dir/munged.seed"
    ip link add kgan-bridge type bridge
    ip address add "$net.254/24" dev kgan-bridge
    ip link set kgan-bridge up
    slurmctld -f "$dir/slurm.conf"
    for node in $nodes; do
        start_node "$node"
    done
    export SLURM_CONF="$dir/slurm.conf"
    for _ in $(seq 60); do
        [ "$(sinfo --noheader --states=idle --format=%D)" != 2 ] || exit 0
        sleep 1
    done
    tail "$dir"/*.log >&2
    exit 1
}

stop() {
    SLURM_CONF=$dir/slurm.conf scancel --full --user=root || true
    for file in "$dir"/slurmd-*.pid "$dir/slurmctld.pid" "$dir/munged.pid"; do
        [ ! -f "$file" ] || kill "$(cat "$file")" || true
    done
    for node in $nodes; do
        ip netns delete "kgan-n$node" || true
    done
    ip link delete kgan-bridge || true
}

case $action in
start) start ;;
stop) stop ;;
*) echo "usage: $0 start|stop DIR" >&2 && exit 2 ;;
esac
