"""llama.cpp itself loads the GGUF files that were written, and answers and tokenizes as we do.

Usage: python gguf_check.py ours.json   (crates/model/tests/gguf/llama_cpp.rs writes it and calls this: `just gguf-check`)
Needs `xllamacpp` (llama.cpp with its server) and `gguf` (its own reader and quantisation); nothing is fetched.

Tokens must be ours. Where they part, our best logit may have led by no more than llama.cpp rounds: it multiplies 16-bit weights by
16-bit activations, and quantised ones by activations of 8 bits; only with 32-bit weights does it compute as we do.
"""
import json
import socket
import sys
import urllib.request

import gguf
import numpy as np
import xllamacpp

# greatest lead that rounding of the activations may overturn, in logits
LEADS = {"F32": 0.01, "F16": 0.05, "Q8_0": 0.25, "Q4_0": 0.5, "Q4_K_M": 0.5}


def serve(model, lora=None):
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_ctx, params.n_parallel, params.warmup, params.verbosity = 2048, 1, False, -1
    # a cache of 16 bits would round keys and values
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.cpuparams.n_threads = 1
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        params.port = free.getsockname()[1]
    if lora:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(lora, 1.0)]
    return xllamacpp.Server(params)


def ask(server, path, body):
    request = urllib.request.Request(server.listening_address + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request))


def answers(check):
    server = serve(check["model"], check.get("lora"))
    tokens = same = whole = 0
    overturned = []
    for case in check["cases"]:
        want = case["answer"]
        body = {"prompt": case["prompt"], "n_predict": len(want), "temperature": 0, "ignore_eos": False, "return_tokens": True,
                "cache_prompt": False, "samplers": ["top_k"], "top_k": 1}
        got = ask(server, "/completion", body)["tokens"]
        parted = next((i for i, (a, b) in enumerate(zip(want, got)) if a != b), min(len(want), len(got)))
        # after an end token, which is among those it gives, llama.cpp stops; we were told to go on
        stopped = parted == len(got) < len(want) and got[-1] in check["ends"]
        whole += parted == len(want) or stopped
        tokens += len(want) if not stopped else parted
        same += parted
        if parted < len(want) and not stopped:
            overturned.append(case["leads"][parted])
    worst = max(overturned, default=0)
    print(f"{check['name']:18} {whole} of {len(check['cases'])} answers, {same} of {tokens} tokens before they part; "
          f"leads overturned {[round(lead, 4) for lead in overturned]}")
    assert worst <= LEADS[check["quant"]], f"{check['name']}: llama.cpp overturns a lead of {worst} logits"


def tokenizes(check):
    server = serve(check["model"])
    alike = 0
    for case in check["texts"]:
        got = ask(server, "/tokenize", {"content": case["text"], "add_special": False, "parse_special": True})["tokens"]
        alike += got == case["tokens"]
        if got != case["tokens"]:
            print(f"  {check['name']}: {case['text']!r}\n    ours  {case['tokens']}\n    llama {got}")
    print(f"tokenizer {check['name']:20} {alike} of {len(check['texts'])} texts alike")
    return alike == len(check["texts"])


def blocks(check, plain):
    """The package's own reader and quantisation beside what was written."""
    reader = gguf.GGUFReader(check["model"])
    names, equal, total = {}, 0, 0
    for tensor in reader.tensors:
        kind = tensor.tensor_type
        values = gguf.quants.dequantize(tensor.data, kind).astype(np.float64)
        exact = plain[tensor.name]
        error = np.sqrt(np.mean((values - exact) ** 2) / np.mean(exact**2))
        names.setdefault(kind.name, []).append(error)
        if kind.name in ("F16", "Q8_0", "Q4_0", "Q5_0"):
            theirs = gguf.quants.quantize(exact.astype(np.float32), kind)
            equal += int(np.sum(theirs.view(np.uint8) == tensor.data.view(np.uint8)))
            total += theirs.nbytes
    errors = ", ".join(f"{name} {max(error):.1e} ({len(error)})" for name, error in names.items())
    alike = f"{100 * equal / total:.2f} % of bytes as the package quantises" if total else "the package quantises none of these types"
    print(f"gguf {check['name']:18} relative error {errors}; {alike}")
    assert equal == total, f"{check['name']}: {total - equal} bytes differ"


def renders(check):
    got = ask(serve(check["model"]), "/apply-template", {"messages": check["messages"]})["prompt"]
    assert got == check["text"], f"llama.cpp renders {got!r}, we render {check['text']!r}"
    print("template: the same text")


def main():
    ours = json.load(open(sys.argv[1]))
    plain = {}
    for check in ours["models"]:
        if check["quant"] == "F32":
            plain = {t.name: t.data.astype(np.float64) for t in gguf.GGUFReader(check["model"]).tensors}
        elif "lora" not in check:
            blocks(check, plain)
    for check in ours["models"]:
        answers(check)
    renders(ours["template"])
    assert all([tokenizes(check) for check in ours["tokenizers"]]), "llama.cpp tokenizes otherwise"


main()
