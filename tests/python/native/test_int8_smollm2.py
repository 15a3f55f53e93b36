"""int8 weights of the real model, quantised by us, are computed with as what they stand for.

SmolLM2's file is 4-bit, so unlike int4 its int8 weights are of our own making and no golden file knows them. The
reference here reads the packed file by the words of docs/bundle-format.md and computes in numpy.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from bundles import BACKENDS
from cores import ONE_CORE
from golden import SmolGolden
from skywork_rt import Generator
from skywork_rt._core import RawBackend
from skywork_rt.bundle.info import BundleInfo
from skywork_rt.checkpoints.model import Float32Array, ModelConfig
from skywork_rt.checkpoints.open import open_source
from skywork_rt.checkpoints.synthetic.source import SyntheticSource
from skywork_rt.export.graph.reference import ReferenceLlama

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("native" not in BACKENDS, reason="SKYWORK_RT_TEST_BACKENDS leaves out native"),
]

GOLDEN = SmolGolden.load()
PROMPTS = ("design", "emoji", "function", "provinces")
NEW_TOKENS = 16
OPTIONS = {"backend": "native", "weights": "int8", "activations": "f32", "max_length": 512, **ONE_CORE}

#: A step whose two best logits are nearer than this may go either way in another order of float32 sums.
CLOSE = 1e-4


class PackedInt8(SyntheticSource):
    """The model that a file of packed int8 weights stands for."""

    def __init__(self, bundle: Path) -> None:
        info = BundleInfo.open(bundle)
        super().__init__(ModelConfig.from_json(info.section("model")))
        self._file = safe_open(str(bundle / info.section("weights")["int8"]), "numpy")

    def tensor(self, name: str) -> Float32Array:
        shape = self.config.tensor_shapes()[name]
        if len(shape) == 1:
            return np.asarray(self._file.get_tensor(name), np.float32)
        rows, columns = shape
        panels = self._file.get_tensor(f"{name}.int8")
        count, groups = len(panels), -(-columns // 32)
        codes_start = -(-groups * 32 // 64) * 64
        scales = np.ascontiguousarray(panels[:, : groups * 32]).view("<f2").reshape(count, groups, 16)
        codes = np.ascontiguousarray(panels[:, codes_start:]).view(np.int8).reshape(count, groups, 8, 16, 4)
        weights = codes.astype(np.float32) * scales.astype(np.float32)[:, :, None, :, None]
        return np.ascontiguousarray(weights.transpose(0, 3, 1, 2, 4).reshape(count * 16, groups * 32)[:rows, :columns])


@pytest.fixture(scope="module")
def reference(smollm2_bundle: Path) -> ReferenceLlama:
    return ReferenceLlama(PackedInt8(smollm2_bundle))


def test_the_weights_are_within_half_a_step_of_the_checkpoints(smollm2_bundle: Path, smollm2_file: Path) -> None:
    packed, source = PackedInt8(smollm2_bundle), open_source(smollm2_file)
    for name in ("layers.0.q_proj", "layers.17.down_proj", "layers.29.gate_proj"):
        found, wanted = packed.tensor(name), source.tensor(name)
        groups = np.abs(wanted).reshape(len(wanted), -1, 32).max(axis=-1)
        step = np.repeat(groups / 127, 32, axis=1)
        # A scale is rounded to 11 bits, which moves the ends of a group by up to 127 * 2**-11 of a step.
        assert (np.abs(found - wanted) <= step * (0.5 + 127 * 2**-11) * (1 + 2**-10)).all(), name
        assert not np.array_equal(found, wanted)


@pytest.mark.parametrize("name", PROMPTS)
def test_logits_are_those_of_the_dequantised_model(smollm2_bundle: Path, reference: ReferenceLlama, name: str) -> None:
    ids = GOLDEN.prompts[name].ids
    raw = RawBackend(str(smollm2_bundle), OPTIONS)
    found = raw.forward([(raw.open(len(ids)), ids, list(range(len(ids))))])
    worst = float(np.abs(found - reference.forward(ids)).max())
    assert worst < 1e-3, f"a logit is off by {worst:.1e}"


def test_greedy_ids_are_those_of_the_dequantised_model(smollm2_bundle: Path, reference: ReferenceLlama) -> None:
    compared = 0
    with Generator(smollm2_bundle, **OPTIONS) as generator:
        for name in PROMPTS:
            ids = GOLDEN.prompts[name].ids
            found = generator.generate(ids, temperature=0, max_tokens=NEW_TOKENS, ignore_eos=True).token_ids
            cache, pending = reference.new_cache(), ids
            for step, token in enumerate(found):
                logits = reference.forward(pending, cache)[-1]
                second, best = np.sort(logits)[-2:]
                if best - second < CLOSE:
                    break
                assert token == int(logits.argmax()), f"token {step} after {name!r}"
                compared, pending = compared + 1, [token]
    assert compared >= (len(PROMPTS) - 1) * NEW_TOKENS, "too many steps were too close to call"
