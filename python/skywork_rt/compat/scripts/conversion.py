"""convert_weight, convert_reversed, convert_ckpt and transform_ckpt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from skywork_rt.compat.notices import notice
from skywork_rt.compat.scripts.script import Flag, Script, Word, option
from skywork_rt.errors import InvalidArgumentError

__all__ = ["CONVERSION"]

_OVERWRITE = Flag("overwrite", switch=True)
_TORCH = (".bin", ".safetensors", ".pt", ".pth")


def _overwrite(values: Mapping[str, str]) -> list[Word]:
    return ["--overwrite"] if values.get("overwrite") else []


def _to_mindspore(values: Mapping[str, str], _rest: Sequence[str]) -> list[Word]:
    """Any weight file of a Hugging Face directory stands for all of it."""
    source = Path(values.get("torch_ckpt_path") or values["torch_ckpt_dir"])
    directory = source.parent if source.suffix in _TORCH else source
    out = Path(values["mindspore_ckpt_path"])
    if out.suffix not in (".ckpt", ".safetensors"):  # MindSpore appends it
        out = out.with_name(out.name + ".ckpt")
    return ["convert", str(directory), str(out), *option("--dtype", _dtype(values.get("dtype"))), *_overwrite(values)]


_DTYPES = {"fp16": "float16", "fp32": "float32", "bf16": "bfloat16"}


def _dtype(given: str | None) -> str | None:
    return _DTYPES.get(given, given) if given else None


def _to_torch(values: Mapping[str, str], _rest: Sequence[str]) -> list[Word]:
    out = Path(values["torch_ckpt_path"])
    directory = out.with_suffix("") if out.suffix in _TORCH else out
    notice("convert_reversed.out", f"the model is written to {directory}/pytorch_model.bin, with its configuration")
    described = [*option("--config", values.get("config")), *option("--tokenizer", values.get("tokenizer"))]
    words: list[Word] = ["convert", values["mindspore_ckpt_path"], str(directory), "--format", "bin", *described]
    return [*words, *option("--dtype", _dtype(values.get("dtype"))), *_overwrite(values)]


def _transform(values: Mapping[str, str], _rest: Sequence[str]) -> list[Word]:
    """A strategy says how a side is divided; a side without one is whole."""
    source, target = values.get("src_ckpt_strategy"), values.get("dst_ckpt_strategy")
    directory, out, prefix = values["src_ckpt_dir"], values["dst_ckpt_dir"], values["prefix"]
    if source and not target:
        whole = Path(out) / "rank_0" / f"{prefix}0.ckpt"
        return ["merge", directory, str(whole), "--strategy", source, *_overwrite(values)]
    if not target:
        raise InvalidArgumentError(
            "transform_ckpt: give --src_ckpt_strategy (to merge), --dst_ckpt_strategy (to split), or both"
        )
    from_ = directory if source else _whole(Path(directory))
    words: list[Word] = ["split", from_, out, "--strategy", target, "--prefix", prefix]
    return [*words, *option("--source-strategy", source), *_overwrite(values)]


def _whole(directory: Path) -> str:
    """The one checkpoint in rank_0 of a directory, or in the directory itself."""
    if directory.is_file():
        return str(directory)
    found = sorted((directory / "rank_0").glob("*.ckpt")) or sorted(directory.glob("*.ckpt"))
    if len(found) != 1:
        raise InvalidArgumentError(
            f"transform_ckpt: {directory}/rank_0 has {len(found)} checkpoints, not one; give the file itself"
        )
    return str(found[0])


_DTYPE = Flag("dtype", allowed=("float16", "float32", "bfloat16", "fp16", "fp32", "bf16"))
_REVERSED = (
    Flag("mindspore_ckpt_path", default="transform.ckpt"),
    Flag("torch_ckpt_path", default="./output.bin"),
    Flag("config"),
    Flag("tokenizer"),
    _DTYPE,
    _OVERWRITE,
)

CONVERSION = (
    Script(
        "convert_weight",
        "a Hugging Face checkpoint to a .ckpt: skywork-rt convert",
        (
            Flag("torch_ckpt_path", default="./hf.bin"),
            Flag("mindspore_ckpt_path", default="transform.ckpt"),
            _DTYPE,
            _OVERWRITE,
        ),
        _to_mindspore,
    ),
    Script(
        "convert_ckpt",
        "the same, of MindFormers before 1.1: skywork-rt convert",
        (
            Flag("torch_ckpt_dir", default="./"),
            Flag("mindspore_ckpt_path", default="transform.ckpt"),
            _DTYPE,
            _OVERWRITE,
        ),
        _to_mindspore,
    ),
    Script("convert_reversed", "a .ckpt to Hugging Face: skywork-rt convert", _REVERSED, _to_torch),
    Script(
        "transform_ckpt",
        "checkpoints of one card and of many: skywork-rt split, merge",
        (
            Flag("src_ckpt_strategy"),
            Flag("dst_ckpt_strategy"),
            Flag("src_ckpt_dir", required=True),
            Flag("dst_ckpt_dir", required=True),
            Flag("prefix", default="checkpoint_"),
            _OVERWRITE,
        ),
        _transform,
    ),
)
