"""On how many cores a test computes that has no promise about threads.

With pytest-xdist every core has a worker of its own. A model that then computes on two threads waits at every step for
the one that another worker's test has put off its core: on MindSpore Lite a search with beams takes 7 to 17 s instead
of 2 to 4.
"""

from __future__ import annotations

import os

#: Options of a model: one thread beside other workers, else the default.
ONE_CORE: dict[str, int] = {"threads": 1} if "PYTEST_XDIST_WORKER" in os.environ else {}


def compute_numpy_on_one_core() -> None:
    """The same for numpy's matrix products here and in child processes; to be called before numpy is imported."""
    if ONE_CORE:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
