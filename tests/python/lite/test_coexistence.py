"""Lite in one process with the libraries that collide with it, in every order, to the exit status."""

from __future__ import annotations

import importlib.util
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    "lite" not in os.environ.get("SKYWORK_RT_TEST_BACKENDS", "lite,native"), reason="the lite backend is not tested"
)

STEPS = {
    "mindspore": (
        "import mindspore, numpy\n"
        "total = mindspore.ops.ReduceSum()(mindspore.Tensor(numpy.ones((3, 4), numpy.float32)))\n"
        "assert float(total.asnumpy()) == 12\n"
    ),
    "torch": "import torch\nassert float(torch.ones(3, 4).matmul(torch.ones(4, 2)).sum()) == 24\n",
    "lite": (
        "import sys, skywork_rt\n"
        "generator = skywork_rt.Generator(sys.argv[1], backend='lite', threads=2)\n"
        "results = generator.generate([[3, 4, 5], [6, 7]], max_tokens=60, temperature=0, ignore_eos=True)\n"
        "ids = [result.outputs[0].token_ids for result in results]\n"
        "assert [len(row) for row in ids] == [60, 60], ids\n"
        "print('IDS', ids)\n"
    ),
}
# What each library still does once all are there: a collision may show late.
AGAIN = {
    "mindspore": "assert float(mindspore.ops.Exp()(mindspore.Tensor([0.0])).asnumpy()[0]) == 1\n",
    "torch": "assert float(torch.ones(64, 64).matmul(torch.ones(64, 64)).sum()) == 64 ** 3\n",
    "lite": (
        "again = generator.generate([[3, 4, 5], [6, 7]], max_tokens=5, temperature=0, ignore_eos=True)\n"
        "assert [result.outputs[0].token_ids[:5] for result in again] == [row[:5] for row in ids]\n"
    ),
}


def orders() -> list[tuple[str, ...]]:
    """Every order of lite and whatever of the others is installed."""
    others = [name for name in ("mindspore", "torch") if importlib.util.find_spec(name) is not None]
    return [order for count in range(len(others) + 1) for order in _orders_with_lite(others, count)]


def _orders_with_lite(others: list[str], count: int) -> list[tuple[str, ...]]:
    chosen = itertools.combinations(others, count)
    return [order for group in chosen for order in itertools.permutations((*group, "lite"))]


@pytest.mark.slow
@pytest.mark.parametrize("order", orders(), ids="-".join)
def test_lite_lives_with_other_frameworks(order: tuple[str, ...], tiny_bundle: Path) -> None:
    program = "".join(STEPS[name] for name in order) + "".join(AGAIN[name] for name in order)
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tiny_bundle)], capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, f"exit status {ended.returncode}\n{ended.stderr[-3000:]}"
    assert "IDS" in ended.stdout
    assert "mindspore/lite" not in ended.stderr, "Lite's own log reached stderr"


def test_opening_lite_leaves_the_programs_arithmetic_alone(tiny_bundle: Path) -> None:
    """Its libraries flush the smallest numbers to zero when they are loaded, in whichever thread loads them."""
    program = "".join(
        [
            "import numpy\n",
            "def keeps_the_smallest():\n    return bool((numpy.full(8, 1e-310) * 0.5 > 0).all())\n",
            "assert keeps_the_smallest()\n",
            STEPS["lite"],
            "assert keeps_the_smallest()\n",
        ]
    )
    command = [sys.executable, "-W", "error", "-c", program, str(tiny_bundle)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
