"""`skywork-rt synth`: bundles of random weights that the native backend opens like any other."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from checkpoints import small

import skywork_rt
from skywork_rt.checkpoints.model import ModelConfig
from skywork_rt.checkpoints.synthetic.presets import PRESETS, preset, with_changes
from skywork_rt.errors import CapacityError, InvalidArgumentError
from skywork_rt.export.quantise import RANDOM_WEIGHTS, largest_weights_bytes
from skywork_rt.export.synthetic_bundle import number_tokenizer, write_random_bundle

# Runs a command and prints the most memory that it ever held, in KiB: the kernel's account of the one child.
_MEASURED = """
import resource, subprocess, sys
status = subprocess.run([sys.executable, "-m", "skywork_rt", *sys.argv[1:]]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""


def synth(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _MEASURED, "synth", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def names_in(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def test_a_random_bundle_generates_scores_and_streams(tmp_path: Path) -> None:
    bundle = write_random_bundle(tmp_path / "out", preset("tiny"), ["int4", "int8"], seed=3)
    for weights in ("int4", "int8"):
        with skywork_rt.Generator(bundle, weights=weights, threads=1) as generator:
            assert generator.options["backend"] == "native"
            ids = generator.generate([5, 6, 7], temperature=0.0, max_tokens=12, ignore_eos=True).token_ids
            assert len(ids) == 12
            streamed = [piece.text for piece in generator.stream("Höhe", temperature=0.0, max_tokens=5)]
            assert "".join(streamed)
            assert generator.score([1, 2], [3]).logprob < 0


def test_the_same_seed_gives_the_same_bytes_and_another_gives_others(tmp_path: Path) -> None:
    bundles = [write_random_bundle(tmp_path / str(i), preset("tiny"), seed=seed) for i, seed in enumerate((7, 7, 8))]
    one, same, other = ((bundle / "weights-int4.safetensors").read_bytes() for bundle in bundles)
    assert one == same
    assert one != other
    assert json.loads((bundles[2] / "model.json").read_text())["source"] == {
        "kind": "synthetic",
        "name": "tiny-seed8",
        "sha256": None,
    }


@pytest.mark.slow
def test_every_id_of_a_random_model_has_a_text_of_its_own() -> None:
    for config in PRESETS.values():
        tokenizer = number_tokenizer(config)
        assert len(tokenizer.entries) == config.vocab_size
        assert not any(entry.unused for entry in tokenizer.entries)
        assert len({entry.text for entry in tokenizer.entries}) == config.vocab_size
        special = {index for index, entry in enumerate(tokenizer.entries) if entry.special}
        assert special == {index for index in (config.bos_id, config.pad_id, *config.eos_ids) if index is not None}
    assert number_tokenizer(preset("skywork-13b")).entries[65518].text == b" <65518>"


def test_text_goes_in_byte_by_byte_and_comes_out_again(tmp_path: Path) -> None:
    bundle = write_random_bundle(tmp_path / "out", preset("tiny"))
    with skywork_rt.Generator(bundle, threads=1) as generator:
        text = "Grüße, 陕西 <|2|>!"
        ids = generator.encode(text.replace("<|2|>", ""))
        assert ids[0] == generator.model.bos_id
        assert generator.decode(ids) == text.replace("<|2|>", "")
        assert generator.encode("<|2|>", add_special_tokens=False) == [2]
        assert generator.decode([300, 301]) == " <300> <301>"


def test_a_vocabulary_without_room_for_bytes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="a vocabulary of 100 has no room for 256 bytes"):
        write_random_bundle(tmp_path / "out", small(vocab_size=100))
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": ["f32"]}, f"weights are f32; give one or more of {', '.join(RANDOM_WEIGHTS)}, each once"),
        ({"weights": []}, "weights are none"),
        ({"weights": ["int4", "int4"]}, "each once"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_wrong_arguments_write_nothing(tmp_path: Path, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        write_random_bundle(tmp_path / "out", preset("tiny"), **arguments)  # type: ignore[arg-type]
    assert names_in(tmp_path) == []


def test_a_disk_too_small_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    huge = ModelConfig.from_json(preset("skywork-13b").to_json() | {"layers": 4096, "intermediate_size": 1 << 22})
    with pytest.raises(CapacityError, match=r"writing out needs about \d+\.\d\d GB beside it, \d+\.\d\d GB are free"):
        write_random_bundle(tmp_path / "out", huge)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("name", ["int4", "int8"])
def test_the_space_that_is_asked_for_is_what_a_file_takes(tmp_path: Path, name: str) -> None:
    shape = {"hidden_size": 256, "intermediate_size": 704, "heads": 4, "kv_heads": 2, "head_dim": 64, "layers": 3}
    config = with_changes(preset("qwen2-7b"), **shape, vocab_size=9999, eos_ids=(2,))
    bundle = write_random_bundle(tmp_path / "out", config, [name])
    size = (bundle / f"weights-{name}.safetensors").stat().st_size
    assert size <= largest_weights_bytes(config, name) <= 1.05 * size


@pytest.mark.slow
def test_the_command_writes_the_shape_that_is_named_and_refuses_a_place_that_is_taken(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = synth("--like", "SmolLM2-135M", "--layers", "1", "--seed", "5", "--weights", "int4,int8", out)
    assert done.returncode == 0, done.stderr
    assert f"{out}  " in done.stdout
    model = json.loads((out / "model.json").read_text())
    assert (model["model"]["name"], model["model"]["layers"], model["model"]["hidden_size"]) == (
        "smollm2-135m-1-layers", 1, 576,
    )  # fmt: skip
    assert set(model["weights"]) == {"int4", "int8"}
    assert "random weights int4" in done.stderr
    again = synth("--like", "tiny", out)
    assert again.returncode == 2
    assert "exists; give another name" in " ".join(again.stderr.split())
    assert json.loads((out / "model.json").read_text()) == model
    unknown = synth("--like", "skywork-14b", tmp_path / "other")
    assert unknown.returncode == 2
    assert "known are skywork-13b, llama-2-7b" in " ".join(unknown.stderr.split())


@pytest.mark.slow
def test_skyworks_width_is_written_and_run_in_little_memory(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = synth("--like", "skywork-13b", "--layers", "1", out)
    assert done.returncode == 0, done.stderr
    peak_mb = int(done.stdout.splitlines()[-1]) / 1024
    size_mb = (out / "weights-int4.safetensors").stat().st_size / 1e6
    assert size_mb > 700
    assert peak_mb < 300, f"{peak_mb:.0f} MB to write {size_mb:.0f} MB"
    with skywork_rt.Generator(out, max_length=64, max_batch=1) as generator:
        assert len(generator.generate([1, 2, 3], max_tokens=4, ignore_eos=True).token_ids) == 4
