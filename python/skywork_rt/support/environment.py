"""Every environment variable that the Python package reads, and what it does. Nothing else calls `os.environ.get`.

The C++ library has a table of its own (csrc/support/environment.h); docs/reference/environment.md is made of both.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

__all__ = [
    "API_KEYS",
    "ASCEND_HOME",
    "CACHE",
    "COMPAT_WEIGHTS",
    "DEBUG",
    "LIBRARY_PATH",
    "LITE_HOME",
    "LITE_TOOLS",
    "LITE_WHEEL",
    "MSRUN_RANK",
    "MSRUN_RANKS",
    "MSRUN_ROLE",
    "RAY_ADDRESS",
    "TEST_CACHE",
    "VARIABLES",
    "Variable",
]


@dataclass(frozen=True)
class Variable:
    """An environment variable; empty counts as not set."""

    name: str
    text: str

    def value(self) -> str | None:
        """What it is set to, if it is."""
        return os.environ.get(self.name) or None


CACHE = Variable("SKYWORK_RT_CACHE", "Folder of what is downloaded and prepared. Unset: ~/.cache/skywork_rt.")
LITE_HOME = Variable(
    "LITE_HOME", "Folder of an unpacked MindSpore Lite 2.2 or later to use instead of the prepared one."
)
ASCEND_HOME = Variable(
    "ASCEND_HOME_PATH",
    "Folder of the Ascend toolkit (CANN), which its set_env.sh sets; `skywork-rt doctor` looks there.",
)
LIBRARY_PATH = Variable(
    "LD_LIBRARY_PATH", "Where the system's loader looks first; `skywork-rt doctor` looks for CANN there."
)
LITE_WHEEL = Variable(
    "SKYWORK_RT_LITE_WHEEL",
    "The wheel of mindspore-lite that `skywork-rt lite install` prepares, where it cannot be downloaded.",
)
LITE_TOOLS = Variable(
    "SKYWORK_RT_LITE_TOOLS", "Folder of the programs that export runs Lite with, instead of the package's own."
)
TEST_CACHE = Variable(
    "SKYWORK_RT_TEST_CACHE", "Folder of the sample checkpoints of tests and demo. Unset: test-data in the cache."
)
DEBUG = Variable("SKYWORK_RT_DEBUG", "Set: the command line shows the Python traceback of an error, as --debug does.")
API_KEYS = Variable(
    "SKYWORK_RT_API_KEYS", "Keys of `skywork-rt serve`, separated by commas; every request must carry one of them."
)
COMPAT_WEIGHTS = Variable(
    "SKYWORK_RT_COMPAT_WEIGHTS",
    "Weights that skywork_rt.compat.mindformers exports a checkpoint with, such as int8. Unset: f32, int8 beyond 4 GB.",
)
MSRUN_ROLE = Variable("MS_ROLE", "Set by msrun: MS_WORKER makes a rank of `skywork-rt train`, MS_SCHED its scheduler.")
MSRUN_RANK = Variable("RANK_ID", "Set by msrun: which rank a process is.")
MSRUN_RANKS = Variable("RANK_SIZE", "Set by msrun: how many ranks there are.")
RAY_ADDRESS = Variable(
    "RAY_ADDRESS", "Ray's own: the cluster that `skywork-rt serve --ray` joins. Unset: it starts one on this machine."
)

VARIABLES = (
    CACHE,
    LITE_HOME,
    ASCEND_HOME,
    LIBRARY_PATH,
    LITE_WHEEL,
    LITE_TOOLS,
    TEST_CACHE,
    DEBUG,
    API_KEYS,
    COMPAT_WEIGHTS,
    MSRUN_ROLE,
    MSRUN_RANK,
    MSRUN_RANKS,
    RAY_ADDRESS,
)
