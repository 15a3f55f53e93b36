"""Making the bundles of the tests through the real export, each once for one state of the export's sources."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from random_models import CASES, SEED, Case

import skywork_rt.checkpoints
import skywork_rt.export
from skywork_rt.checkpoints.samples import cache_directory, smollm2
from skywork_rt.checkpoints.synthetic.huggingface_directory import write_random_hf
from skywork_rt.checkpoints.synthetic.presets import preset, with_changes
from skywork_rt.export import export

#: The backends that are tested, and for which bundles are made.
BACKENDS = tuple(name for name in os.environ.get("SKYWORK_RT_TEST_BACKENDS", "lite,native").split(",") if name)

Tokenizer = Literal["byte-level", "sentencepiece", "none"]

#: In the manner of ChatML, with what real templates use: loops, conditions, trimming, raise_exception.
CHAT_TEMPLATE = """\
{%- for message in messages %}
    {%- if message['role'] not in ['system', 'user', 'assistant'] %}
        {{- raise_exception('unknown role ' + message['role']) }}
    {%- endif %}
    {{- '[' + message['role'] + '] ' + message['content'] + eos_token + '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '[assistant] ' }}
{%- endif %}"""


def bundle_of(
    name: str,
    make_source: Callable[..., Path],
    weights: tuple[str, ...],
    *,
    targets: tuple[str, ...] = BACKENDS,
    graphs: str = "both",
    layout: str = "bundle",
    **arguments: Any,
) -> Path:
    """The bundle `name`, exported for every backend, or for `targets`, from what `make_source(directory)` writes.

    With layout="mindformers" the folder that has its two bundles.
    """
    root = cache_directory() / "bundles" / "-".join(BACKENDS) / name
    root.mkdir(parents=True, exist_ok=True)
    state = _state(weights, targets, graphs, layout, arguments)
    bundle = root / state
    with (root / ".lock").open("w") as lock:  # two test processes at once make it once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not bundle.exists():
            for old in root.glob("[0-9a-f]*"):
                shutil.rmtree(old)
            work = root / "source" / name
            shutil.rmtree(work, ignore_errors=True)
            native = weights if "native" in targets else ()
            export(
                make_source(work, **arguments), bundle, targets=targets, weights=native, graphs=graphs, layout=layout
            )
            shutil.rmtree(work, ignore_errors=True)
    return bundle


def tiny_source(directory: Path, kind: Tokenizer = "byte-level", **changes: Any) -> Path:
    """The random model `tiny` as a Hugging Face directory."""
    write_random_hf(directory, with_changes(preset("tiny"), **changes), SEED, tokenizer=kind)
    if kind != "none":
        (directory / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    return directory


def wide_source(directory: Path, tokenizer: str) -> Path:
    """The random model `tiny` with the vocabulary of SmolLM2, and 100 rows more than that has: `tokenizer` is the path
    of its tokenizer.json."""
    config = with_changes(preset("tiny"), vocab_size=49252, max_length=2048)
    write_random_hf(directory, config, SEED, tokenizer="none")
    shutil.copyfile(tokenizer, directory / "tokenizer.json")
    settings = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (directory / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    return directory


def random_source(directory: Path, case: Case) -> Path:
    """One of the random models of the golden files as a Hugging Face directory."""
    return write_random_hf(
        directory, case.config, SEED, model_type=case.model_type, tokenizer="none", rope_scaling=case.rope_scaling
    )


def random_bundle(name: str) -> Path:
    """The bundle of one of the random models of the golden files."""
    targets = tuple(target for target in BACKENDS if target != "lite" or CASES[name].lite)
    return bundle_of(f"random-{name}", random_source, ("f32",), targets=targets, case=CASES[name])


def full_graph_bundle() -> Path:
    """A random GQA model with q/k/v biases of which there is the full graph for Lite and nothing else."""
    case = CASES["qkv-bias"]
    return bundle_of("full-graph-only", random_source, (), targets=("lite",), graphs="full", case=case)


def smollm2_source(_directory: Path) -> Path:
    """SmolLM2's GGUF file, fetched when it is missing."""
    return smollm2()


def _state(*arguments: object) -> str:
    """Short hash of the sources of the export and the readers, of this file and of what it is asked for."""
    roots = [Path(module.__path__[0]) for module in (skywork_rt.export, skywork_rt.checkpoints)]
    digest = hashlib.sha256(repr(arguments).encode())
    for file in [*sorted(file for root in roots for file in root.rglob("*.py")), Path(__file__)]:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]
