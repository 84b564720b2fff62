"""vLLM's and LiteLLM's own parsers read what `route --export` writes.

Usage: python export_check.py PATH/TO/slm-migrate [FOLDER WITH A FINISHED RUN]
Needs `litellm` and, for the vLLM part, `vllm` 0.33; what is not installed is skipped aloud.
"""
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # nothing is fetched


def litellm_reads(path):
    import litellm
    import yaml

    config = yaml.safe_load(path.read_text())
    models = config["model_list"]
    for entry in models:
        if entry["litellm_params"].get("api_key", "").startswith("os.environ/"):
            entry["litellm_params"]["api_key"] = "unused"
    router = litellm.Router(model_list=models, **config["router_settings"])
    names = set(router.get_model_names())
    assert names == {entry["model_name"] for entry in models}, names
    print(f"litellm {path.name}: {len(names)} models, fallbacks {router.fallbacks}")


def vllm_reads(path):
    import vllm.platforms

    if vllm.platforms.current_platform.device_type == "":  # no GPU: only the parser is wanted, so the CPU stands in
        from vllm.platforms.cpu import CpuPlatform

        vllm.platforms._current_platform = CpuPlatform()
    from vllm.engine.arg_utils import EngineArgs
    from vllm.entrypoints.common.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = make_arg_parser(FlexibleArgumentParser())
    args = parser.parse_args(["--config", str(path)])
    engine = EngineArgs.from_cli_args(args)
    if engine.enable_lora:
        names = f"modules {[module.name for module in args.lora_modules]}, rank {args.max_lora_rank}"
    else:
        assert args.served_model_name and not args.lora_modules, "a model tuned whole is served under its task's name"
        names = f"served as {args.served_model_name}"
    assert (pathlib.Path(engine.model) / "config.json").exists(), engine.model
    print(f"vllm {path.name}: model {pathlib.Path(engine.model).name}, {names}")


def main():
    binary = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else scratch)
        if len(sys.argv) <= 2:
            subprocess.run([binary, "demo", "--quiet"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        out = pathlib.Path(scratch) / "deploy"
        subprocess.run([binary, "route", "--export", "table,vllm,litellm", "--out", out, "--quiet"], cwd=folder, check=True)
        for check, pattern in [(litellm_reads, "litellm.yaml"), (vllm_reads, "vllm-*.yaml")]:
            for path in out.glob(pattern):
                try:
                    check(path)
                except ImportError as error:
                    print(f"SKIPPED {path.name}: {error}")


main()
