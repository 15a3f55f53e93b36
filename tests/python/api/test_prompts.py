"""What callers may give as a prompt, and what is refused with a typed error that names the cause."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from skywork_rt import InvalidArgumentError, SkyworkError, UnsupportedError
from skywork_rt.api.prompts import parse_prompts


@pytest.mark.parametrize(
    ("prompts", "ids", "single"),
    [
        ([1, 2, 3], [[1, 2, 3]], True),
        ((1, 2), [[1, 2]], True),
        (np.array([4, 5], np.int32), [[4, 5]], True),
        (np.array([4, 5], np.uint16), [[4, 5]], True),
        ([np.int64(7), 8], [[7, 8]], True),
        ([[1, 2], [3]], [[1, 2], [3]], False),
        ([[1]], [[1]], False),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]], False),
        ([np.array([1]), [2, 3], (4,)], [[1], [2, 3], [4]], False),
    ],
)
def test_ids_come_as_lists_tuples_and_integer_arrays(prompts: Any, ids: list[list[int]], single: bool) -> None:
    parsed, was_single = parse_prompts(prompts, None)
    assert [prompt.ids.tolist() for prompt in parsed] == ids
    assert was_single is single
    assert all(prompt.ids.dtype == np.int64 and prompt.text is None for prompt in parsed)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([], "the list is empty"),
        ([[]], "prompt 0 of 1 is empty"),
        ([[1], []], "prompt 1 of 2 is empty"),
        (np.array([], np.int32), "the prompt is empty"),
        ([True, False], "True .bool. at index 0"),
        ([1, True], "True .bool. at index 1"),
        ([1, 2.0], "2.0 .float. at index 1"),
        ([1, None], "None .NoneType. at index 1"),
        ([1, "a"], "'a' .str. at index 1"),
        ([[1], [2, [3]]], r"prompt 1 of 2 has \[3\]"),
        ([2**80], str(2**80)),
        (np.array([1.0, 2.0]), "float64"),
        (np.array([True]), "bool"),
        (np.array(["a"]), "<U1"),
        (np.array([2**63], np.uint64), str(2**63)),
        (np.zeros((1, 1, 1), np.int32), r"\(1, 1, 1\)"),
        (np.array(3), r"\(\)"),
        (None, "NoneType"),
        (5, "int"),
        (b"bytes", "bytes"),
        ({"a": 1}, "dict"),
        ([None], "None"),
        ([[1], None], "prompt 1 of 2 is a NoneType"),
    ],
)
def test_what_is_no_prompt_is_refused_by_name(prompts: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message) as caught:
        parse_prompts(prompts, None)
    assert isinstance(caught.value, SkyworkError)
    assert isinstance(caught.value, ValueError)


def test_text_without_a_tokenizer_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="prompt 1 of 2 is text, but this bundle has no tokenizer"):
        parse_prompts([[1], "text"], None)
