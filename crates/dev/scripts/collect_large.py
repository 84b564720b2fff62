"""A million calls streamed into `collect`: peak memory, speed of each tenth, size of the store.

usage: collect_large.py LOG CALLS [PROGRAM]

LOG is call records, one JSON object a line, read into memory; its calls are written again and again with fresh ids until there are CALLS of
them. The program reads as fast as it can, so the time in which a tenth is written is the time in which it is read.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time

log, calls = sys.argv[1], int(sys.argv[2])
program = os.path.abspath(sys.argv[3] if len(sys.argv) > 3 else "target/release/slm-migrate")
lines = open(log, "rb").read().splitlines(keepends=True)
marks = [b'"source_id": "', b'"conversation_id": "']
if not all(mark in lines[0] for mark in marks):
    sys.exit(f"{log}: each line needs {marks[0].decode()}…\" and {marks[1].decode()}…\", written so")

with tempfile.TemporaryDirectory() as folder:
    command = [program, "--quiet", "--no-progress", "collect", "-"]
    process = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    written, begin, times = 0, time.time(), []
    for number in range(calls):
        line = lines[number % len(lines)]
        fresh = b"r%d-" % (number // len(lines))
        for mark in marks:
            line = line.replace(mark, mark + fresh, 1)
        process.stdin.write(line)
        written += len(line)
        if (number + 1) * 10 // calls > number * 10 // calls:
            times.append(time.time())
    process.stdin.close()
    if process.wait() != 0:
        sys.exit("the program failed")
    took = time.time() - begin
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    store = os.path.getsize(os.path.join(folder, "slm-migrate.db"))
    tenths = [end - start for start, end in zip([begin] + times, times)]
    print(f"{calls} calls, {written / 1e9:.1f} GB in {took:.0f} s: {written / took / 1e6:.0f} MB/s")
    print("tenths, s: " + " ".join(f"{tenth:.1f}" for tenth in tenths) + f"; last over first {tenths[-1] / tenths[0]:.2f}")
    print(f"peak memory {peak:.0f} MiB; store {store} bytes, {store / written * 100:.2f} % of the log")
    subprocess.run([program, "--quiet", "verify"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    print("verify passes")
