"""What our core says of a bundle for Ascend on a machine without a card."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import skywork_rt
from skywork_rt.errors import BackendUnavailableError


def refusal_without_card(bundle: Path) -> str:
    """The error of opening it there, which takes less than a second: form, gears and configuration are read before.

    A busy machine has three tries.
    """
    said, seconds = [], []
    for _ in range(3):
        start = time.monotonic()
        with pytest.raises(BackendUnavailableError, match=r"libge_runner\.so of CANN are missing") as refused:
            skywork_rt.Generator(bundle, device="ascend")
        seconds.append(time.monotonic() - start)
        said.append(str(refused.value))
        if seconds[-1] < 1:
            break
    assert min(seconds) < 1
    return said[0]
