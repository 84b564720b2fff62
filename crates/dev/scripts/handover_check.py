"""Other trainers take what `finetune --export` writes: TRL trains on it, and what it made is imported and judged.

Usage: python handover_check.py PATH/TO/slm-migrate DEMO.jsonl.zst [axolotl|-] [TASK…]
Needs `trl`, `peft`, `transformers` and `torch`, all on the CPU, and `zstd` on the path; with `axolotl`, its files as well.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

STEPS = 12


def shell(binary, folder, *arguments):
    done = subprocess.run([binary, *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, (arguments, done.stderr)
    return done.stdout


def prepared(binary, log, scratch):
    """A store of the first calls of the demo log, up to its candidates; the names of its tasks."""
    lines = subprocess.run(["zstd", "-dc", log], capture_output=True, check=True).stdout.splitlines(keepends=True)
    (scratch / "log.jsonl").write_bytes(b"".join(lines[:500]))
    shell(binary, scratch, "collect", "log.jsonl")
    for step in ["scrub", "cluster", "select"]:
        shell(binary, scratch, step)
    return [json.loads(line)["name"] for line in shell(binary, scratch, "show", "tasks", "--format", "jsonl").splitlines()]


def trl_learns():
    """The tokens and labels that TRL makes of the rows, by its own code; and a short run."""
    import torch
    from trl import SFTTrainer, get_peft_config
    from trl.scripts.sft import make_parser

    arguments = ["--config", "sft.yaml", "--use_cpu", "true", "--bf16", "false", "--dtype", "float32", "--logging_steps", "1"]
    script, training, model, mixture = make_parser().parse_args_and_config(args=arguments, fail_with_unknown_args=True)
    assert model.use_peft and training.completion_only_loss and not mixture.datasets
    from datasets import load_dataset

    rows = load_dataset(script.dataset_name)
    training.model_init_kwargs = {"dtype": torch.float32}
    trainer = SFTTrainer(
        model=model.model_name_or_path,
        args=training,
        train_dataset=rows[script.dataset_train_split],
        eval_dataset=rows[script.dataset_test_split] if training.eval_strategy != "no" else None,
        peft_config=get_peft_config(model),
    )
    made = [list(zip(row["input_ids"], row["labels"])) for row in trainer.train_dataset]
    trainer.train()
    trainer.save_model(training.output_dir)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return trainer.processing_class, made, losses


def texts(tokenizer, made):
    """What is learnt of each row, as text."""
    return [tokenizer.decode([token for token, label in row if label != -100]) for row in made]


def axolotl_learns(folder, tokenizer):
    """The same by Axolotl's own strategy for rows of segments, and its configuration by its own schema."""
    import yaml
    from axolotl.prompt_strategies.input_output import RawInputOutputPrompter, RawInputOutputStrategy

    strategy = RawInputOutputStrategy(RawInputOutputPrompter(), tokenizer, False, 4096)
    made = []
    for line in (folder / "data/train.jsonl").read_text().splitlines():
        row = strategy.tokenize_prompt(json.loads(line))
        made.append(list(zip(row["input_ids"], row["labels"])))
    from axolotl.utils.schemas.config import AxolotlInputConfig

    text = yaml.safe_load((folder / "axolotl.yaml").read_text())
    parsed = AxolotlInputConfig(**text)
    unknown = [key for key in text if key not in AxolotlInputConfig.model_fields]
    assert not unknown, unknown
    assert parsed.lora_r == text["lora_r"] and parsed.learning_rate == text["learning_rate"], parsed
    return made


def check(binary, scratch, task):
    given = ["--task", task, "--max-steps", str(STEPS), "--set", "finetune.batch_size=8"]
    shell(binary, scratch, "finetune", "--export", "trl", "--out", "trl", *given)
    folder = scratch / "trl" / task / "nano"
    if not folder.exists():
        print(f"{task}: nothing to learn from")
        return
    manifest = json.loads((folder / "handover.json").read_text())
    os.chdir(folder)
    tokenizer, made, losses = trl_learns()
    assert len(made) == manifest["train"], (len(made), manifest["train"])
    assert len(losses) == manifest["steps"] and losses[-1] < losses[0], losses
    # the same calls as Axolotl is given them are texts of our own rendering: what both learn must be one
    shell(binary, scratch, "finetune", "--export", "axolotl", "--out", "axolotl", *given)
    other = scratch / "axolotl" / task / "nano"
    rows = [json.loads(line)["segments"] for line in (other / "data/train.jsonl").read_text().splitlines()]
    ours = [[tokenizer(segment["text"], add_special_tokens=False)["input_ids"] for segment in row] for row in rows]
    ours = [list(zip(prompt + answer, [-100] * len(prompt) + answer)) for prompt, answer in ours]
    assert made == ours, next((a, b) for a, b in zip(texts(tokenizer, made), texts(tokenizer, ours)) if a != b)
    if "axolotl" in sys.argv[3:4]:
        assert axolotl_learns(other, tokenizer) == ours
        print(f"{task}: axolotl's own strategy and schema take {len(ours)} rows, the same tokens")
    taken = shell(binary, scratch, "adapter", "import", str(folder / "adapter"), "--task", task, "--model", "nano", "--format", "json")
    again = shell(binary, scratch, "adapter", "import", str(folder / "adapter"), "--task", task, "--model", "nano", "--format", "json")
    assert taken == again
    adapter = json.loads(taken)["adapters"][0]
    shell(binary, scratch, "evaluate", "--task", task)
    scores = [json.loads(line) for line in shell(binary, scratch, "show", "scores", "--format", "jsonl").splitlines()]
    mark = adapter["fingerprint"][:8]
    scored = [score for score in scores if mark in score["candidate"]]
    score = scored[0]["score"] if scored else None
    print(
        f"{task}: {len(made)} rows, unlike {manifest['unlike']}, TRL's loss {losses[0]:.3f} to {losses[-1]:.3f} in {len(losses)} steps; "
        f"imported: loss {adapter['train_loss']:.3f}, validation {adapter['validation_loss']}, held-out score {score}"
    )


def each(check):
    """Calls `check(binary, scratch, task)` for each task of the log, or for those that are named behind the third argument."""
    binary, log = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        names = prepared(binary, log, scratch)
        for task in [name for name in names if name in sys.argv[4:] or not sys.argv[4:]]:
            check(binary, scratch, task)


if __name__ == "__main__":
    each(check)
