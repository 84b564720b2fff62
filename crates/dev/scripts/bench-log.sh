#!/usr/bin/env bash
# Collect, scrub and cluster a log into a scratch store: seconds, peak memory, bytes.
set -euo pipefail
root=$(cd "$(dirname "$0")/../../.." && pwd)
bin=$root/target/release/slm-migrate
log=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
total=0
for step in "collect $log" scrub cluster; do
    python3 - "$bin" $step <<'PY'
import resource, subprocess, sys, time
start = time.time()
subprocess.run([*sys.argv[1:], "--quiet", "--no-progress"], check=True, stdout=subprocess.DEVNULL)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(f"{sys.argv[2]:8} {time.time() - start:7.1f} s  peak {peak:6.0f} MiB")
PY
done
sqlite=$(stat -c %s slm-migrate.db)
echo "store    $sqlite bytes"
