"""Architectures that are not read are refused with advice, which docs/checkpoints.md repeats."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkpoints import GgufBuilder, edit_json, small, write_hf

from skywork_rt.checkpoints.foreign import FOREIGN, Foreign
from skywork_rt.checkpoints.gguf.source import ARCHITECTURES
from skywork_rt.checkpoints.huggingface.config import MODEL_TYPES
from skywork_rt.checkpoints.open import open_source
from skywork_rt.errors import UnsupportedError

DOCS = Path(__file__).parents[3] / "docs" / "checkpoints.md"


def test_the_table_for_people_is_the_one_that_errors_use() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for entry in FOREIGN:
        names = ", ".join(f"`{name}`" for name in entry.names)
        assert f"| {names} | {entry.what} | {entry.instead} |" in text
    for name in (*MODEL_TYPES, *ARCHITECTURES):
        assert f"`{name}`" in text


def test_a_name_is_either_read_or_refused_and_has_one_reason() -> None:
    names = [name for entry in FOREIGN for name in entry.names]
    assert len(names) == len(set(names))
    assert not set(names) & {*MODEL_TYPES, *ARCHITECTURES}


@pytest.mark.parametrize("entry", FOREIGN, ids=[entry.names[0] for entry in FOREIGN])
def test_both_kinds_of_source_are_refused_with_the_advice(tmp_path: Path, entry: Foreign) -> None:
    name = entry.names[0]
    directory = write_hf(tmp_path / "model")
    edit_json(directory / "config.json", model_type=name)
    builder = GgufBuilder(small())
    builder.architecture = name
    for source in (directory, builder.write(tmp_path / "a.gguf")):
        with pytest.raises(UnsupportedError) as refused:
            open_source(source)
        assert f"{name!r} is not supported; known are " in str(refused.value)
        assert str(refused.value).endswith(f" ({entry.what}; {entry.instead})")
