#!/usr/bin/env bash
# How fast a log is imported: parsed, normalised, hashed, compressed, sealed, committed. Beside polars, which only reads it into memory, in turn.
#
# usage: bench-collect.sh LOG [PYTHON]
#   LOG     JSON lines, not compressed
#   PYTHON  an interpreter that has polars
# Prints a line a run: seconds, megabytes a second, core-seconds, peak memory, and of ours the store's share of the log.
set -euo pipefail
log=$(realpath "$1") python=${2:-}
program=$(realpath "${PROGRAM:-target/release/slm-migrate}")
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
cd "$here"
cat > run.py << 'PY'
import os, resource, subprocess, sys, time
log, command = sys.argv[1], sys.argv[2:]
begin = time.time()
subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
took, use = time.time() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
size = os.path.getsize(log)
store = os.path.getsize("slm-migrate.db") / size * 100 if os.path.exists("slm-migrate.db") else 0
print(f"{os.path.basename(command[0]):12} {took:7.2f} s  {size / took / 1e6:6.0f} MB/s  {use.ru_utime + use.ru_stime:6.2f} core-s  {use.ru_maxrss / 1024:6.0f} MiB  store {store:.2f} %")
PY
for _ in 1 2 3; do
    python3 run.py "$log" "$program" --quiet collect "$log"
    rm -rf slm-migrate slm-migrate.db*
    if [ -n "$python" ]; then
        python3 run.py "$log" "$python" -c "import polars, sys; polars.read_ndjson(sys.argv[1], infer_schema_length=None)" "$log"
    fi
done
