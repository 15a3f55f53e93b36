"""A bundle that was cut or bit-flipped anywhere gives a typed error or the same result, never a crash.

model.json is the one file that no digest covers: what a flipped bit there can change without being noticed (a name, a
digit of a frequency) may change the result, so only the error's type is asked of it.
"""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from cores import ONE_CORE
from skywork_rt import Generator, SamplingParams, SkyworkError

CUTS = 50
FLIPS = 200
PROMPT = [5, 6, 7]
TEXT = "what the tokenizer makes of this"

#: Generated ids, their text, and TEXT as ids.
Outcome = tuple[list[int], str, list[int]]

GREEDY = SamplingParams(temperature=0, max_tokens=4, ignore_eos=True)


def _run(bundle: Path, backend: str) -> Outcome:
    with Generator(bundle, backend=backend, verify=True, max_batch=1, **ONE_CORE) as generator:
        ids = list(generator.generate(PROMPT, GREEDY).token_ids)
        return ids, generator.decode(ids), generator.encode(TEXT)


@pytest.fixture(scope="module")
def copy(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that may be damaged."""
    return Path(shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("damaged") / "bundle"))


def _files(bundle: Path) -> list[str]:
    """Every file of the bundle: also of those that only the other backend opens, nobody may crash."""
    names = ["model.json", *json.loads((bundle / "model.json").read_text())["files"]]
    assert sorted(names) == sorted(path.name for path in bundle.iterdir())
    return names


def _try(bundle: Path, backend: str, name: str, data: bytes, expected: Outcome) -> None:
    """Runs with `data` in the place of a file's contents, and puts the contents back."""
    path = bundle / name
    original = path.read_bytes()
    path.write_bytes(data)
    try:
        result = _run(bundle, backend)
        assert name == "model.json" or result == expected, f"{name} is damaged, and nobody noticed"
    except SkyworkError:
        pass
    finally:
        path.write_bytes(original)


def test_bundle_that_is_cut_gives_a_typed_error(copy: Path, backend: str) -> None:
    expected = _run(copy, backend)
    draw = random.Random(1)
    names = _files(copy)
    for i in range(CUTS):
        data = (copy / names[i % len(names)]).read_bytes()
        _try(copy, backend, names[i % len(names)], data[: draw.randrange(len(data))], expected)


def test_bundle_with_a_flipped_bit_gives_a_typed_error_or_the_same_result(copy: Path, backend: str) -> None:
    expected = _run(copy, backend)
    draw = random.Random(2)
    names = _files(copy)
    for i in range(FLIPS):
        data = bytearray((copy / names[i % len(names)]).read_bytes())
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        _try(copy, backend, names[i % len(names)], bytes(data), expected)
