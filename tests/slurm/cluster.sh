#!/usr/bin/env bash
# A real Slurm of one node, for tests: its own munge, controller and node daemon in one folder,
# without systemd, without root's configuration, without cgroups.
#
#   cluster.sh check         is all of it installed? says what is missing, exit code 3 if so
#   cluster.sh install       installs Debian's packages (needs root)
#   cluster.sh start FOLDER  starts it; `export SLURM_CONF=FOLDER/slurm.conf` then uses it
#   cluster.sh stop FOLDER   stops its daemons
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

check() {
    local missing=()
    for program in slurmctld slurmd munged sbatch squeue scancel scontrol; do
        command -v "$program" > /dev/null || missing+=("$program")
    done
    if [ ${#missing[@]} -gt 0 ]; then
        echo "Slurm is not installed (no ${missing[*]}); $0 install" >&2
        exit 3
    fi
}

# Waits up to half a minute for a command to succeed.
wait_for() {
    for _ in $(seq 300); do
        "$@" > /dev/null 2>&1 && return 0
        sleep 0.1
    done
    echo "gave up waiting for: $*" >&2
    return 1
}

free_port() {
    # Two daemons want fixed ports; take ones that nobody listens on.
    local port=$1
    while (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null; do port=$((port + 2)); done
    echo "$port"
}

start() {
    check
    mkdir -p "$1"
    local folder user port host
    folder=$(cd "$1" && pwd)
    user=$(id -un)
    host=$(hostname -s)
    port=$(free_port $((20000 + $$ % 10000)))
    # munged refuses a folder that others may write to, and wants its socket reachable by all.
    mkdir -p "$folder"/{munge,state,spool}
    chmod 755 "$folder" "$folder/munge"
    head -c 1024 /dev/urandom > "$folder/munge/key"
    chmod 400 "$folder/munge/key"
    munged --force --key-file "$folder/munge/key" --socket "$folder/munge/socket" \
        --pid-file "$folder/munge/pid" --log-file "$folder/munge/log" \
        --seed-file "$folder/munge/seed" 2> "$folder/munge/err" || {
        cat "$folder/munge/err" >&2
        exit 1
    }
    cat > "$folder/slurm.conf" << CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CredType=cred/munge
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=1
KillWait=30
MinJobAge=60
NodeName=$host NodeAddr=127.0.0.1 CPUs=4 RealMemory=8000 State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
    export SLURM_CONF="$folder/slurm.conf"
    slurmctld -c
    wait_for scontrol ping
    slurmd -c
    wait_for sh -c "sinfo --noheader --format=%T | grep -q idle" || {
        tail "$folder/slurmctld.log" "$folder/slurmd.log" >&2
        stop "$folder"
        exit 1
    }
}

stop() {
    # Tasks outlive their daemons.
    if [ -s "$1/slurmctld.pid" ]; then
        export SLURM_CONF="$1/slurm.conf"
        scancel --quiet --user="$(id -un)" || true
        for _ in $(seq 200); do
            [ -n "$(squeue --noheader 2> /dev/null)" ] || break
            sleep 0.1
        done
    fi
    # Only what this folder's files name; each may be gone already.
    for file in slurmd.pid slurmctld.pid munge/pid; do
        [ -s "$1/$file" ] || continue
        local pid
        pid=$(cat "$1/$file")
        kill "$pid" 2> /dev/null || continue
        for _ in $(seq 100); do
            # Gone, or dead and waiting for an init that does not ask.
            case "$(ps -o stat= -p "$pid" 2> /dev/null)" in "" | Z*) break ;; esac
            sleep 0.1
        done
    done
}

case "${1:-}" in
    check) check ;;
    install) apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge ;;
    start) start "${2:?names no folder}" ;;
    stop) stop "${2:?names no folder}" ;;
    *) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 2 ;;
esac
