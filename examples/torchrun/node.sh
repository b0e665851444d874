#!/usr/bin/env bash
# A run on several machines: the same command on each of them, in any order.
#
#     HEAD=node1 NNODES=2 RECIPE=my.yaml OUT=/shared/runs/mine examples/torchrun/node.sh [key=value ...]
#
# 0: the run is finished. 2: a mistake in the recipe. Anything else: not finished. Started again on all machines it
# goes on from its newest checkpoint (`checkpoint.every` in the recipe), on these machines or others. When one machine is
# lost this ends on the others too. SIGTERM: the run saves a checkpoint, on all machines, and ends; the traceback that
# torchrun shows then, with exit code 75 of a rank, is no error.
#
# To have that done unattended, five times at most:
#
#     for attempt in 1 2 3 4 5; do node.sh && break; sleep 30; done
set -euo pipefail

: "${RECIPE:?a recipe}" "${OUT:?the run directory, on a disk that all machines share}"
: "${HEAD:?the machine the others meet at: its name or address}" "${NNODES:?how many machines}"
RANKS=${RANKS:-gpu}           # ranks of this machine, the same on all; gpu: one for each GPU
PORT=${PORT:-29500}           # of HEAD, free, and open to the others
RDZV=${RDZV:-c10d}            # c10d: machines are counted as they come. static: each needs its NODE_RANK, HEAD has 0
NODE_RANK=${NODE_RANK:-}      # with c10d only needed where HEAD is a name that its machine does not know as its own
LOCAL_ADDR=${LOCAL_ADDR:-}    # this machine's address for the others, where its host name does not lead there
JOIN_S=${JOIN_S:-1800}        # for all machines to come
SAVE_S=${SAVE_S:-600}         # for a checkpoint, after SIGTERM

# torchrun takes a rank's 2 for a failure like any other, so mistakes are looked for before it starts.
rlvr train "$RECIPE" out="$OUT" "$@" --dry-run > /dev/null

case $RDZV in
c10d)
    conf=join_timeout=$JOIN_S
    if [ -n "$NODE_RANK" ]; then
        conf+=,is_host=$([ "$NODE_RANK" = 0 ] && echo true || echo false)
    fi
    meet=(--rdzv-backend c10d --rdzv-endpoint "$HEAD:$PORT" --rdzv-id "${RUN_ID:-rlvr}" --rdzv-conf "$conf")
    ;;
static)
    meet=(--master-addr "$HEAD" --master-port "$PORT" --node-rank "${NODE_RANK:?0 on HEAD, 1, 2, ... elsewhere}")
    ;;
*)
    echo "RDZV is $RDZV; it must be c10d or static" >&2
    exit 2
    ;;
esac
if [ -n "$LOCAL_ADDR" ]; then
    meet+=(--local-addr "$LOCAL_ADDR")
fi

# No restarts of torchrun's own: a run that was told to stop ends with 75, which it would take for a failure.
exec torchrun --nnodes "$NNODES" --nproc-per-node "$RANKS" --max-restarts 0 --shutdown-timeout "$SAVE_S" \
    "${meet[@]}" -m rlvr_cli train "$RECIPE" out="$OUT" "$@"
