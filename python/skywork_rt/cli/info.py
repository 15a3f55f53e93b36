"""skywork-rt info"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from skywork_rt.bundle.info import BundleInfo
from skywork_rt.bundle.weights import describe_weights
from skywork_rt.cli import options as opt
from skywork_rt.errors import CorruptBundleError

__all__ = ["info"]

Spelled: TypeAlias = Callable[[Sequence[int]], str]

_BLOCK = 4 << 20
_FULL = "host-cache/full"


def info(
    bundle: opt.BundlePath,
    verify: Annotated[bool, typer.Option("--verify", help="Compare the SHA-256 of every file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a bundle holds."""
    opened = BundleInfo.open(bundle)
    problems = check_files(opened, verify)
    if as_json:
        manifest = dict(opened.manifest)
        manifest["problems"] = problems
        print(json.dumps(manifest, ensure_ascii=False, indent=1))
    else:
        _print(opened, verify)
    if problems:
        raise CorruptBundleError("; ".join(problems))


def check_files(bundle: BundleInfo, verify: bool) -> list[str]:
    """What is wrong with the bundle's files, in sentences; with `verify` their contents are hashed too."""
    problems = []
    for name, entry in bundle.section("files").items():
        path = bundle.directory / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            problems.append(f"{name} is no name of a file inside of the bundle")
        elif not path.is_file():
            problems.append(f"{name} is missing")
        elif path.stat().st_size != entry.get("size"):
            problems.append(f"{name} has {path.stat().st_size} bytes, but model.json says {entry.get('size')}")
        elif verify and (found := _hash(path)) != entry.get("sha256"):
            problems.append(f"{name} has SHA-256 {found}, but model.json says {entry.get('sha256')}")
    return problems


def _hash(path: Path) -> str:
    from skywork_rt.support.progress import progress_bars

    digest = hashlib.sha256()
    size = path.stat().st_size
    with path.open("rb") as file, progress_bars() as progress:
        done = 0
        while block := file.read(_BLOCK):
            digest.update(block)
            done += len(block)
            if size > 64 * _BLOCK:  # smaller files are hashed in a moment
                progress(f"checking {path.name}", done, size)
    return digest.hexdigest()


def _print(bundle: BundleInfo, verified: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    model: dict[str, Any] = bundle.section("model")
    table = Table(box=None, show_header=False, pad_edge=False)
    for label, value in _facts(bundle, model):
        table.add_row(f"[bold]{label}[/bold]", value)
    console.print(table)
    files = Table(box=None, pad_edge=False)
    for column in ("file", "role", "MB", "SHA-256 ok" if verified else "SHA-256"):
        files.add_column(column, justify="right" if column == "MB" else "left")
    for name, entry in bundle.section("files").items():
        files.add_row(name, entry.get("role"), f"{entry.get('size', 0) / 1e6:.1f}", str(entry.get("sha256"))[:12] + "…")
    console.print(files)


def _facts(bundle: BundleInfo, model: dict[str, Any]) -> list[tuple[str, str]]:
    heads = f"{model.get('heads')} heads, {model.get('kv_heads')} for keys and values, of {model.get('head_dim')}"
    rope = model.get("rope") or {}
    tokenizer = bundle.section("tokenizer")
    graphs = [
        f"{g.get('contract')} ({', '.join(str(g[key]) for key in ('flavour', 'precision', 'form') if key in g)})"
        for g in bundle.manifest.get("graphs", [])
    ]
    spelled = _spelling(bundle)
    return [
        ("model", f"{model.get('name')} ({model.get('architecture')})"),
        ("layers", f"{model.get('layers')} of {model.get('hidden_size')}, FFN {model.get('intermediate_size')}"),
        ("attention", ", ".join([heads, *_additions(model)])),
        ("vocabulary", f"{model.get('vocab_size')}, {'tied' if model.get('tied_embeddings') else 'untied'} head"),
        ("length", f"{model.get('max_length')}, {_rope(model, rope)}"),
        ("tokenizer", f"{tokenizer.get('kind')}, {_chat(tokenizer)}" if tokenizer.get("file") else "none"),
        ("prompts", _around(tokenizer, model, spelled)),
        ("special", _special(model, spelled)),
        ("ends", spelled(model.get("eos_ids") or []) or "at the length only"),
        ("graphs", (", ".join(graphs) or "none") + _alone(bundle)),
        ("weights", ", ".join(describe_weights(bundle)) or "none"),
        ("mindspore", _on_mindspore(bundle)),
        ("made by", f"{bundle.manifest.get('producer')} from {bundle.section('source').get('name')}"),
    ]


def _alone(bundle: BundleInfo) -> str:
    contracts = [graph.get("contract") for graph in bundle.manifest.get("graphs", [])]
    return ": no other, so that a batch is computed one sequence after the other" if contracts == [_FULL] else ""


def _on_mindspore(bundle: BundleInfo) -> str:
    """What backend="mindspore" would compute with."""
    if importlib.util.find_spec("mindspore") is None:
        return "not installed: pip install 'skywork-rt[export]'"
    from skywork_rt.mindspore_backend.bundled import describe_choices

    return describe_choices(bundle)


def _additions(model: dict[str, Any]) -> list[str]:
    """The parts that not every Llama structure has."""
    parts = {
        "qkv_bias": "q/k/v bias", "output_bias": "output bias", "qk_norm": "q/k norm", "mlp_bias": "FFN bias",
    }  # fmt: skip
    return [text for key, text in parts.items() if model.get(key)]


def _rope(model: dict[str, Any], rope: dict[str, Any]) -> str:
    unturned = model.get("layers_without_rope") or []
    text = f"rope {rope.get('type')} with base {rope.get('theta')}"
    return f"{text}, {len(unturned)} of {model.get('layers')} layers without it" if unturned else text


def _chat(tokenizer: dict[str, Any]) -> str:
    if tokenizer.get("chat_template_error"):
        return f"a chat template that cannot be used: {tokenizer['chat_template_error']}"
    names = [*(["default"] if tokenizer.get("chat_template") else []), *(tokenizer.get("chat_templates") or {})]
    if names == ["default"]:
        return "with chat template"
    return f"with the chat templates {', '.join(names)}" if names else "no chat template"


def _around(tokenizer: dict[str, Any], model: dict[str, Any], spelled: Spelled) -> str:
    """What the tokenizer puts before and after a prompt's own ids."""
    bos = [] if model.get("bos_id") is None else [model["bos_id"]]
    prefix = tokenizer.get("prefix_ids", bos if tokenizer.get("add_bos") else [])
    parts = [("begin with", prefix), ("end with", tokenizer.get("suffix_ids") or [])]
    return ", ".join(f"{verb} {spelled(ids)}" for verb, ids in parts if ids) or "nothing is added to them"


def _special(model: dict[str, Any], spelled: Spelled) -> str:
    ids = {"bos": model.get("bos_id"), "pad": model.get("pad_id")}
    return ", ".join(f"{name} {spelled([index])}" for name, index in ids.items() if index is not None) or "none"


def _spelling(bundle: BundleInfo) -> Spelled:
    """Writes ids and how the vocabulary writes them."""
    from skywork_rt.text.tokenizer import load_tokenizer

    try:
        tokenizer = load_tokenizer(bundle)
    except CorruptBundleError:
        tokenizer = None  # a missing file is told below, a damaged one by --verify: ids are shown without their texts

    def spell(index: int) -> str:
        if tokenizer is None or index >= tokenizer.vocab_size:
            return str(index)
        return f"{index} {tokenizer.token(index)!r}"

    return lambda ids: ", ".join(map(spell, ids))
