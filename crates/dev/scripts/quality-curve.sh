#!/usr/bin/env bash
# What a trainer reaches in how much time: held-out agreement of a log's tasks after training for several numbers of epochs.
#
# usage: quality-curve.sh PROGRAM LOG EPOCHS… [-- SETTING…]
#   PROGRAM   a build of slm-migrate; another commit's, for a comparison
#   LOG       what to train on; fixtures/demo.jsonl.zst is the demo's
#   EPOCHS    passes over the data, one training each
#   SETTING   further settings of the program, as for --set
# Prints for each number of epochs the seconds of `finetune`, by the clock and of all cores together, and a line a task: held-out calls,
# agreement.
set -euo pipefail
program=$(realpath "$1") log=$(realpath "$2")
shift 2
epochs=() settings=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do epochs+=("$1"); shift; done
[ $# -gt 0 ] && shift
for setting in "$@"; do settings+=(--set "$setting"); done
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
cd "$here"
mkdir start
(cd start && for step in "collect $log" scrub cluster select; do "$program" --quiet --set 'models=["nano"]' $step > /dev/null; done)
for epoch in "${epochs[@]}"; do
    rm -rf run && cp -r start run && cd run
    with=(--quiet --set 'models=["nano"]' --set "finetune.epochs=$epoch" "${settings[@]}")
    TIMEFORMAT="epochs $epoch, seconds %R, of cores %U"
    time "$program" "${with[@]}" finetune > /dev/null
    "$program" "${with[@]}" evaluate > /dev/null
    "$program" "${with[@]}" --format json report | python3 -c '
import json, sys
for task in json.load(sys.stdin)["tasks"]:
    for score in task["scores"]:
        if score["contender"] == "tuned":
            print("  {:24} {:4} {:.4f}".format(task["task"]["name"], score["n"], score["score"]))'
    cd ..
done
