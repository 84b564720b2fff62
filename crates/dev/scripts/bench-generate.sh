#!/usr/bin/env bash
# Greedy answers beside a peer's in one run: 256 prompts of 1,500 tokens that share 1,200, 64 new tokens each, random weights in the
# shape of SmolLM2-135M; ours with an adapter of rank 16 on all linears, the peer, ours again.
#
# usage: bench-generate.sh PEER…
#   PEER…       the peer's command for the same; its output is printed as it is
set -euo pipefail
ours() { target/release/examples/infer_speed smollm 256 1500 1200 64 lora; }
ours
"$@"
ours
