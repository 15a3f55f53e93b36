"""The same checkpoint, saved by MindSpore: MindFormers' own model, our graphs run by MindSpore, and our backends."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bundles import BACKENDS
from skywork_rt import Generator
from skywork_rt._core import RawBackend
from skywork_rt.checkpoints.open import open_source
from skywork_rt.errors import UnsupportedError
from skywork_rt.export import export
from skywork_rt.mindspore_backend.opening import open_on_mindspore

pytestmark = pytest.mark.slow

LENGTH, VOCABULARY = 40, 331
SHAPES = {"mha": (4, 4), "gqa": (8, 2)}

#: Of the range of MindFormers' logits.
TOLERANCE = 2e-5

Checkpoint = Callable[[str], Path]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """By the name of a shape: a folder with model.ckpt, config.json, and what MindFormers' model computes."""
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            made[name] = _make(tmp_path_factory.mktemp(name), *SHAPES[name])
        return made[name]

    return make


def _make(folder: Path, heads: int, kv_heads: int) -> Path:
    shape = {
        "seq_length": LENGTH, "hidden_size": 128, "intermediate_size": 352, "num_layers": 3, "num_heads": heads,
        "n_kv_heads": kv_heads, "vocab_size": VOCABULARY,
    }  # fmt: skip
    child = Path(__file__).with_name("mindformers_child.py")
    command = [sys.executable, str(child), str(folder), *(f"{key}={value}" for key, value in shape.items())]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 128, "intermediate_size": 352,
        "num_hidden_layers": 3, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
        "vocab_size": VOCABULARY, "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def check(folder: Path, raw: RawBackend) -> None:
    tokens, wanted = np.load(folder / "tokens.npy"), np.load(folder / "logits.npy")
    seq = raw.open(LENGTH)
    found = raw.forward([(seq, tokens.tolist(), list(range(LENGTH)))])
    raw.truncate(seq, LENGTH - 1)
    decoded = raw.forward([(seq, tokens[-1:].tolist(), [0])])
    for rows, expected in ((found, wanted), (decoded, wanted[-1:])):
        worst = float(np.abs(rows - expected).max())
        assert worst < TOLERANCE * float(np.ptp(wanted)), f"a logit is off by {worst:.1e} of {np.ptp(wanted):.1f}"


@pytest.mark.parametrize("name", SHAPES)
def test_our_graphs_give_the_logits_of_mindformers(name: str, checkpoint: Checkpoint) -> None:
    folder = checkpoint(name)
    check(folder, RawBackend.over(open_on_mindspore(folder / "model.ckpt", {"max_batch": 1}).backend))


@pytest.mark.parametrize(("name", "backend"), [(n, b) for n in SHAPES for b in BACKENDS if (n, b) != ("mha", "lite")])
def test_our_backends_give_the_logits_of_mindformers(
    name: str, backend: str, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    folder = checkpoint(name)
    weights = ("f32",) if backend == "native" else ()
    bundle = export(folder / "model.ckpt", tmp_path / "bundle", targets=(backend,), weights=weights)
    options: Mapping[str, Any] = {"native": {"weights": "f32", "activations": "f32"}}.get(backend, {})
    check(folder, RawBackend(str(bundle), {"backend": backend, **options}))


def test_a_checkpoint_is_generated_from_as_mindformers_argmax_says(checkpoint: Checkpoint) -> None:
    folder = checkpoint("gqa")
    tokens: NDArray[np.int32] = np.load(folder / "tokens.npy")
    best = np.load(folder / "logits.npy").argmax(axis=-1)
    with Generator(folder / "model.ckpt", backend="mindspore", max_batch=2) as generator:
        assert generator.tokenizer is None
        assert generator.model.eos_ids == [2]
        found = generator.generate(tokens, temperature=0, max_tokens=1, prompt_logprobs=1, ignore_eos=True)
        assert found.prompt_logprobs is not None
        likeliest = [min(row.values(), key=lambda entry: entry.rank) for row in found.prompt_logprobs[1:] if row]
        ids = [next(i for i, entry in row.items() if entry.rank == 1) for row in found.prompt_logprobs[1:] if row]
        assert all(entry.rank == 1 for entry in likeliest)
        assert [*ids, *found.token_ids] == best.tolist()
    with pytest.raises(UnsupportedError, match="weights is 'int8', but a checkpoint is computed with in float32"):
        Generator(folder / "model.ckpt", backend="mindspore", weights="int8")


def test_the_checkpoints_tensors_are_the_sources(checkpoint: Checkpoint) -> None:
    """What is compared above has passed through the reader of .ckpt, not through MindSpore's."""
    source = open_source(checkpoint("mha") / "model.ckpt")
    assert source.config.kv_heads == source.config.heads == 4
    assert source.tensor("lm_head").shape == (VOCABULARY, 128)
