"""A training step of PyTorch + PEFT as a careful user sets it up for agent logs: one sequence for the calls of a conversation that
continue each other, a loss on every answer. bf16 base, f32 adapters (r 16, all linear layers of the blocks), AdamW, one sequence at a
time. Prints one JSON line; `call_tokens` counts prompt and answer of every call that a sequence stands for, `rows` what is computed.

  python peer_multi_turn.py SHAPE LOG MAX_PROMPT [CONVERSATIONS A STEP] [STEPS]

SHAPE is a folder with config.json and a tokenizer; weights are random. LOG has call records, taken without their tools. Needs torch,
transformers and peft.
"""
import json
import random
import sys
import time
from collections import defaultdict

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer


def conversations(tokenizer, log, longest):
    """Of each conversation its calls as (tokens, prompt tokens), shortest first."""
    calls = defaultdict(list)
    for line in open(log, encoding="utf-8"):
        record = json.loads(line)
        messages = record["request"]["messages"]
        answer = record["response"]["choices"][0]["message"]
        render = lambda messages, prompt: tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
        prompt, whole = render(messages, True), render([*messages, answer], False)
        if not whole.startswith(prompt):
            continue
        prompt, whole = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, whole))
        if len(prompt) <= longest and whole[: len(prompt)] == prompt:
            calls[record["conversation_id"]].append((whole, len(prompt)))
    return [sorted(calls, key=lambda call: len(call[0])) for calls in calls.values()]


def sequences(calls):
    """Sequences of (tokens, labels), as few as continue each other, and the tokens of the calls they stand for."""
    found = []
    for tokens, prompt in reversed(calls):
        for sequence in found:
            # a template may end a turn otherwise than it goes on: what is asked for is that the answer is in the longer call
            if sequence[0][: len(tokens)] == tokens:
                sequence[1][prompt : len(tokens)] = tokens[prompt:]
                sequence[2] += len(tokens)
                break
        else:
            found.append([tokens, [-100] * prompt + tokens[prompt:], len(tokens)])
    return found


def main():
    shape, log, longest = sys.argv[1], sys.argv[2], int(sys.argv[3])
    batch, steps = (int(value) for value in (sys.argv[4:] + ["6", "2"][len(sys.argv) - 4 :]))
    tokenizer = AutoTokenizer.from_pretrained(shape)
    chosen = conversations(tokenizer, log, longest)
    every = [sequence for calls in chosen for sequence in sequences(calls)]
    print(f"whole log: {sum(s[2] for s in every)} call tokens in {sum(len(s[0]) for s in every)} rows", file=sys.stderr)
    random.Random(0).shuffle(chosen)
    torch.manual_seed(0)
    torch.set_num_threads(2)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(shape), dtype=torch.bfloat16, attn_implementation="sdpa")
    model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    body, head = model.base_model.model.model, model.base_model.model.lm_head
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=2e-4)
    seconds, call_tokens, rows = 0.0, 0, 0
    for step in range(steps + 1):
        part = [sequence for calls in chosen[step * batch : (step + 1) * batch] for sequence in sequences(calls)]
        start = time.perf_counter()
        scored = sum(label != -100 for _, labels, _ in part for label in labels)
        for tokens, labels, _ in part:
            with torch.autocast("cpu", torch.bfloat16):
                hidden = body(input_ids=torch.tensor([tokens]), use_cache=False).last_hidden_state[:, :-1]
                labels = torch.tensor([labels])[:, 1:]
                keep = labels != -100
                logits = head(hidden[keep]).float()
                loss = torch.nn.functional.cross_entropy(logits, labels[keep], reduction="sum") / scored
            loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        took = time.perf_counter() - start
        print(f"step {step}: {took:.1f} s, {len(part)} sequences{' (warm-up)' if step == 0 else ''}", file=sys.stderr, flush=True)
        if step > 0:
            seconds, rows = seconds + took, rows + sum(len(s[0]) for s in part)
            call_tokens += sum(s[2] for s in part)
    print(json.dumps(dict(peer="multi-turn", sequences_a_step=batch, steps=steps, seconds=round(seconds, 1), call_tokens=call_tokens, rows=rows,
                          call_tokens_a_second=round(call_tokens / seconds, 1), rows_a_second=round(rows / seconds, 1))))


main()
