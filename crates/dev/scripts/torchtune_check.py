"""torchtune takes what `finetune --export torchtune` writes: its recipe trains, and what it saved is imported and computes the same.

Usage: python torchtune_check.py PATH/TO/slm-migrate DEMO.jsonl.zst PROCESSES [TASK…]
Needs torchtune 0.6.1, torchao 0.10.0, torchdata, `transformers` and `torch`, all on the CPU, and `zstd` on the path. The recipe asks
for NCCL and for counters of a GPU's memory by name; here it gets gloo and none. All else is its own.
"""
import json
import os
import pathlib
import runpy
import subprocess
import sys

from handover_check import STEPS, each, shell

BATCH = 8


def recipe(arguments):
    """The LoRA recipe in this process, one of several."""
    import torch
    import torch.distributed
    import torchtune
    from torchtune import training

    start = torch.distributed.init_process_group
    torch.distributed.init_process_group = lambda backend: start("gloo")
    training.get_memory_stats = training.log_memory_stats = lambda *_, **__: {}
    torch.cpu.empty_cache = torch.cpu.reset_peak_memory_stats = lambda *_: None
    sys.argv = ["lora_finetune_distributed.py", *arguments]
    runpy.run_path(str(pathlib.Path(torchtune.__file__).parent.parent / "recipes" / sys.argv[0]), run_name="__main__")


def loss(folder, rows):
    """Mean loss of all learnt tokens of rows, by torchtune's model and the adapter in torchtune's own format."""
    import torch
    from omegaconf import OmegaConf
    from torchtune import config

    settings = OmegaConf.load(folder / "torchtune.yaml")
    model, files = config.instantiate(settings.model), config.instantiate(settings.checkpointer)
    model.load_state_dict(files.load_checkpoint()["model"], strict=False)
    adapter = torch.load(folder / "adapter" / "epoch_0" / "adapter_model.pt")
    assert not model.load_state_dict(adapter, strict=False).unexpected_keys
    total, count = 0.0, 0
    for prompt, answer in rows:
        with torch.no_grad():
            logits = model(torch.tensor([prompt + answer])).float()[0, len(prompt) - 1 : -1]
        total += torch.nn.functional.cross_entropy(logits, torch.tensor(answer), reduction="sum").item()
        count += len(answer)
    return total / count


def check(binary, scratch, task):
    processes = int(sys.argv[3])
    given = ["--task", task, "--max-steps", str(STEPS), "--set", f"finetune.batch_size={BATCH}"]
    for trainer in ["torchtune", "axolotl"]:
        shell(binary, scratch, "finetune", "--export", trainer, "--out", trainer, *given)
    folder = scratch / "torchtune" / task / "nano"
    if not folder.exists():
        print(f"{task}: nothing to learn from")
        return
    # the tokens of the segments that Axolotl is given are those of our rendering
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "nano")
    parts = {}
    for part in ["train", "validation"]:
        lines = (scratch / "axolotl" / task / "nano" / "data" / f"{part}.jsonl").read_text().splitlines()
        cut = lambda segment: tokenizer(segment["text"], add_special_tokens=False)["input_ids"]
        parts[part] = [tuple(cut(segment) for segment in json.loads(line)["segments"]) for line in lines]
    rows = [json.loads(line) for line in (folder / "data/train.jsonl").read_text().splitlines()]
    assert [(row["tokens"], row["labels"]) for row in rows] == [(p + a, [-100] * len(p) + a) for p, a in parts["train"]]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), __file__, "recipe"]
    arguments = ["--config", "torchtune.yaml", "device=cpu", "dtype=fp32", f"gradient_accumulation_steps={BATCH // processes}"]
    done = subprocess.run(launch + arguments, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    noted = next((folder / "adapter" / "logs").iterdir()).read_text().splitlines()
    losses = [float(line.split("loss:")[1].split()[0]) for line in noted]
    manifest = json.loads((folder / "handover.json").read_text())
    assert len(losses) == manifest["steps"] and losses[-1] < losses[0], losses
    os.chdir(folder)
    theirs = loss(folder, parts["validation"])
    taken = shell(
        binary, scratch, "adapter", "import", str(folder / "adapter" / "epoch_0"), "--task", task, "--model", "nano", "--format", "json"
    )
    ours = json.loads(taken)["adapters"][0]["validation_loss"]
    assert abs(ours - theirs) < 1e-4, (ours, theirs)
    print(
        f"{task}: {len(rows)} rows, {processes} processes, loss {losses[0]:.3f} to {losses[-1]:.3f} in {len(losses)} steps; "
        f"validation loss in torchtune {theirs:.6f}, imported {ours:.6f}"
    )


if __name__ == "__main__":
    recipe(sys.argv[2:]) if sys.argv[1] == "recipe" else each(check)
