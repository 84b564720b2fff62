#!/usr/bin/env bash
# Kills `run` on the demo log at N random moments (seeded) and compares the final report with that of
# an undisturbed run.
set -euo pipefail
root=$(cd "$(dirname "$0")/../../.." && pwd)
bin=$root/target/release/slm-migrate
count=${1:-20}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
flags=(--no-progress --quiet --set finetune.epochs=1 --set finetune.checkpoint_every=4)
once() { (cd "$work/$1" && "$bin" run "$root/fixtures/demo.jsonl.zst" "${flags[@]}" > table.txt); }
mkdir "$work/calm"
start=$(date +%s.%N)
once calm
length=$(echo "$(date +%s.%N) - $start" | bc)
echo "undisturbed run: $length s"
RANDOM=7
same=0
for i in $(seq "$count"); do
    mkdir "$work/k$i"
    (cd "$work/k$i" && exec "$bin" run "$root/fixtures/demo.jsonl.zst" "${flags[@]}" > table.txt) &
    pid=$!
    wait=$(echo "scale=3; $length * $RANDOM / 32767" | bc)
    sleep "$wait"
    kill -9 "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    once "k$i"
    if cmp -s "$work/calm/slm-migrate/report/report.json" "$work/k$i/slm-migrate/report/report.json" && (cd "$work/k$i" && "$bin" verify > /dev/null); then
        same=$((same + 1))
        echo "killed after $wait s: same report"
    else
        echo "killed after $wait s: DIFFERENT"
    fi
    rm -rf "$work/k$i"
done
echo "$same of $count the same"
test "$same" = "$count"
