# Every chore by name. `just` lists them.
default:
    @just --list

# What CI runs
ci:
    bash .ci/run

# All tests, as the README says
test:
    cargo test --release

# Format and lint
lint:
    cargo fmt --all --check
    cargo clippy --release --workspace --all-targets -- -D warnings

# The demo in a scratch folder
demo:
    cargo build --release
    cd "$(mktemp -d)" && {{justfile_directory()}}/target/release/slm-migrate demo

# Regenerate docs/cli.md and docs/config.md
docs:
    cargo run --release -q -- reference > docs/cli.md
    cargo run --release -q -- reference --config-keys > docs/config.md

# The nano base model by its recipe (about two hours; resumes where it stopped)
base-model *ARGS:
    cargo run --release -p dev -- base-model {{ARGS}}

# The demo logs from their generator
demo-log:
    cargo run --release -p dev -- demo-log --out fixtures/demo.jsonl.zst --planted fixtures/demo-planted.jsonl.zst
    cargo run --release -p dev -- demo-log --next --out fixtures/demo-next.jsonl.zst

# Kill `run` at twenty random moments, run it again, compare the reports
kill-test N="20":
    cargo build --release
    bash crates/dev/scripts/kill-test.sh {{N}}

# Kill `serve` at fifty random moments of live capture: nothing acknowledged is lost, `verify` passes
serve-kill-test N="50":
    cargo build --release
    cargo build --release --example serve_load
    bash crates/dev/scripts/serve-kill-test.sh {{N}}

# vLLM's and LiteLLM's own parsers read what `route --export` writes (needs a Python with both)
export-check PYTHON="python3":
    cargo build --release
    {{PYTHON}} crates/dev/scripts/export_check.py target/release/slm-migrate

# TRL trains on what `finetune --export` writes, and its adapter is imported and judged (needs a Python with trl and peft, and zstd;
# `axolotl` as second argument also asks Axolotl's own code and schema)
handover-check PYTHON="python3" AXOLOTL="-":
    cargo build --release
    {{PYTHON}} crates/dev/scripts/handover_check.py target/release/slm-migrate fixtures/demo.jsonl.zst {{AXOLOTL}}

# torchtune's recipe trains on what `finetune --export` writes, on CPUs, and its adapter is imported (needs a Python with torchtune and torchdata)
torchtune-check PYTHON="python3" PROCESSES="1":
    cargo build --release
    {{PYTHON}} crates/dev/scripts/torchtune_check.py target/release/slm-migrate fixtures/demo.jsonl.zst {{PROCESSES}}

# llama.cpp loads the GGUF files that are written, and answers and tokenizes as we do (needs a Python with xllamacpp and gguf)
gguf-check PYTHON="python3":
    LLAMA_PYTHON={{PYTHON}} cargo test --release -p model --test gguf -- llama_cpp --ignored --nocapture

# TensorBoard itself reads the event files that the demo's training leaves, and would have written the same bytes (needs a Python with tensorboard)
events-check PYTHON="python3":
    cargo build --release
    {{PYTHON}} crates/dev/scripts/events_check.py target/release/slm-migrate

# Collect, scrub and cluster a log: seconds, peak memory, store size
bench-log LOG:
    cargo build --release
    bash crates/dev/scripts/bench-log.sh {{LOG}}

# Import of a log, beside polars reading it if a Python that has it is named
bench-collect LOG PYTHON="":
    cargo build --release
    bash crates/dev/scripts/bench-collect.sh {{LOG}} {{PYTHON}}

# Latency through `serve` beside a direct connection: 64 clients, whole answers and streams, in one run
bench-serve SECONDS="20" PAUSE_MS="40":
    cargo build --release
    cargo run --release -q --example bench_serve -- target/release/slm-migrate {{SECONDS}} {{PAUSE_MS}}

# So many calls streamed into a store: memory, speed of each tenth, size
collect-large LOG CALLS="1000000":
    cargo build --release
    python3 crates/dev/scripts/collect_large.py {{LOG}} {{CALLS}}

# Our training step beside a peer's command in one run (see the script)
bench-peer SHAPE LOG MAX_PROMPT *PEER:
    cargo build --release
    bash crates/dev/scripts/bench-peer.sh {{SHAPE}} {{LOG}} {{MAX_PROMPT}} {{PEER}}

# Our greedy answers beside a peer's command in one run (see the script)
bench-generate *PEER:
    cargo build --release -p model --example infer_speed
    bash crates/dev/scripts/bench-generate.sh {{PEER}}
