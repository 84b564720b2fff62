"""TensorBoard's own reader reads the event files that `finetune` leaves, and its own writer would have written the same bytes.

Usage: python events_check.py PATH/TO/slm-migrate [FOLDER WITH A FINISHED RUN]
Needs `tensorboard`; nothing is fetched.
"""
import io
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

TAGS = {"train/loss": "loss", "train/learning_rate": "lr", "train/gradient_norm": "grad_norm",
        "validation/loss": "validation_loss", "validation/right": "validation_right"}


def rounded(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def read(folder, rows):
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    wanted = {tag: [(row["step"], rounded(row[key])) for row in rows if key in row] for tag, key in TAGS.items()}
    wanted = {tag: values for tag, values in wanted.items() if values}
    assert set(events.Tags()["scalars"]) == set(wanted), events.Tags()
    first = None
    for tag, values in wanted.items():
        found = events.Scalars(tag)
        assert all(event.wall_time == event.step for event in found), tag
        found = [(event.step, event.value) for event in found]
        if tag == "validation/loss":
            assert found[0][0] == 0
            first = found.pop(0)[1]
        assert found == values, tag
    return first


def written(rows, first):
    out = io.BytesIO()
    writer = RecordWriter(out)
    writer.write(Event(file_version="brain.Event:2").SerializeToString())

    def event(step, values):
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in values]
        writer.write(Event(wall_time=step, step=step, summary=Summary(value=values)).SerializeToString())

    if first is not None:
        event(0, [("validation/loss", first)])
    for row in rows:
        event(row["step"], [(tag, row[key]) for tag, key in TAGS.items() if key in row])
    return out.getvalue()


def check(root):
    files = sorted(root.glob("slm-migrate/adapters/*/*tfevents*"))
    assert files, f"no event file in {root}"
    for file in files:
        rows = [json.loads(line) for line in (file.parent / "metrics.jsonl").read_text().splitlines()]
        first = read(file.parent, rows)
        assert file.read_bytes() == written(rows, first), file
        print(f"{file.parent.name}: {len(rows)} steps read back, {file.stat().st_size} bytes as tensorboard writes them")
    # the way TensorBoard itself finds runs in a folder
    runs = EventMultiplexer().AddRunsFromDirectory(str(root / "slm-migrate" / "adapters")).Reload().Runs()
    assert set(runs) == {file.parent.name for file in files}, runs
    print(f"tensorboard finds {len(runs)} runs")


def main():
    binary = pathlib.Path(sys.argv[1]).resolve()
    if len(sys.argv) > 2:
        return check(pathlib.Path(sys.argv[2]))
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([binary, "demo", "--quiet", "--no-progress"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        check(pathlib.Path(folder))


main()
