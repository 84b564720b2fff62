#!/usr/bin/env bash
# Kills `serve` with SIGKILL at N random moments (seeded) of live capture, always on the same store. After each: no call is lost of which the
# proxy had said that it lies in the store, none lies there that nobody made, and `verify` passes.
set -euo pipefail
root=$(cd "$(dirname "$0")/../../.." && pwd)
bin=$root/target/release/slm-migrate
load=$root/target/release/examples/serve_load
count=${1:-50}
work=$(mktemp -d)
cd "$work"
"$load" stub > stub.txt &
stub=$!
trap 'kill "$stub" 2>/dev/null; rm -rf "$work"' EXIT
until [ -s stub.txt ]; do sleep 0.05; done
calls() { "$bin" status --quiet --format jsonl | sed -n '1s/.*"what":"\([0-9]*\) calls, 0 rejects".*/\1/p'; }
RANDOM=11
good=0
before=0
told=0
for i in $(seq "$count"); do
    # the address is read from what this one says, not from what the last one said
    : > serve.txt
    "$bin" serve --record-only --listen 127.0.0.1:0 --upstream "http://$(cat stub.txt)" --flush-seconds 0.05 2>> serve.txt &
    pid=$!
    until address=$(sed -n 's|.*http://\([0-9.:]*\) passes.*|\1|p' serve.txt) && [ -n "$address" ]; do sleep 0.01; done
    "$load" ask "$address" > load.txt &
    asking=$!
    wait=$(echo "scale=3; 0.05 + 1.5 * $RANDOM / 32767" | bc)
    sleep "$wait"
    kill -9 "$pid"
    wait "$pid" 2>/dev/null || true
    wait "$asking"
    read -r answered acknowledged < load.txt
    sound=no
    if "$bin" verify > /dev/null; then sound=yes; fi
    after=$(calls)
    new=$((after - before))
    before=$after
    told=$((told + acknowledged))
    # an answer on its way to one of the eight callers may have been recorded
    if [ "$sound" = yes ] && [ "$new" -ge "$acknowledged" ] && [ "$new" -le $((answered + 8)) ]; then
        good=$((good + 1))
        echo "killed after $wait s: $answered answered, $acknowledged acknowledged, $new stored, sound"
    else
        echo "killed after $wait s: $answered answered, $acknowledged acknowledged, $new stored, sound: $sound: WRONG"
    fi
done
echo "$good of $count good, $told calls acknowledged, $before in the store"
# a test in which nothing was recorded says nothing
test "$good" = "$count" && test "$told" -gt 0
