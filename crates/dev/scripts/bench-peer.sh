#!/usr/bin/env bash
# Our training step beside a peer's in one run: the same log, the same shape, one after the other.
#
# usage: bench-peer.sh SHAPE LOG MAX_PROMPT PEER…
#   SHAPE       folder with config.json and a tokenizer; without weights, random ones are taken
#   LOG         call records
#   MAX_PROMPT  longest prompt, in tokens
#   PEER…       the peer's command; its output is printed as it is
# BATCHING=independent, BATCH=32 and PRECISION=bf16 set ours.
set -euo pipefail
shape=$(realpath "$1") log=$(realpath "$2") longest=$3
shift 3
program=$(realpath "${PROGRAM:-target/release/slm-migrate}")
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
cd "$here"
for step in "collect $log" scrub cluster; do "$program" --quiet $step > /dev/null; done
"$program" bench finetune --model "$shape" --steps "${STEPS:-3}" --batching "${BATCHING:-tree}" --precision "${PRECISION:-f32}" \
    --set finetune.max_prompt_tokens="$longest" --set finetune.batch_size="${BATCH:-16}" --format jsonl
cd - > /dev/null
"$@"
