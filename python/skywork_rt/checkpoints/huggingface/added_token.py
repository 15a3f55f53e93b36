"""Added tokens as the JSON files of a Hugging Face directory describe them."""

from __future__ import annotations

from collections.abc import Mapping

from skywork_rt.bundle.added_token import AddedToken
from skywork_rt.errors import CheckpointError

__all__ = ["LARGEST_ID", "added_token"]

LARGEST_ID = 1 << 24
"""Far above any vocabulary."""

_FLAGS = ("special", "lstrip", "rstrip", "normalized", "single_word")


def added_token(value: object, where: str) -> AddedToken:
    """From an object of added_tokens_decoder or of special_tokens_map.json.

    `normalized` that is not stated is true for tokens that are not special, as in ``tokenizers``. Raises
    CheckpointError that begins with `where`.
    """
    if not isinstance(value, Mapping) or not isinstance(value.get("content"), str):
        raise CheckpointError(f"{where} has no content; expected an object with the token's text")
    flags = {name: value[name] for name in _FLAGS if value.get(name) is not None}
    for name, flag in flags.items():
        if not isinstance(flag, bool):
            raise CheckpointError(f"{where} has {name} = {str(flag)[:40]!r}; expected true or false")
    flags.setdefault("normalized", not flags.get("special", False))
    return AddedToken(value["content"], **flags)
