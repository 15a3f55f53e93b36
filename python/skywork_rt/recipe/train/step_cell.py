"""MindFormers' step cell on CPU, and the barrier that a CPU lacks.

MFTrainOneStepCell asks the NPU whether a number overflowed, an operation that no CPU has; here the gradients are looked
at instead. Registered with MindFormers under a name of its own, so that a YAML selects it (`runner_wrapper.type`); on
other devices nothing of this is used.
"""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
from mindformers.tools.register import MindFormerModuleType, MindFormerRegister
from mindformers.wrapper import MFTrainOneStepCell
from mindspore import ops

__all__ = ["CPU_STEP_CELL", "SkyworkRtCpuTrainOneStepCell", "replace_barrier"]

CPU_STEP_CELL = "SkyworkRtCpuTrainOneStepCell"


@MindFormerRegister.register(MindFormerModuleType.WRAPPER)
class SkyworkRtCpuTrainOneStepCell(MFTrainOneStepCell):  # type: ignore[misc]
    """The step of MindFormers; a gradient that is not finite anywhere counts as overflow, and the step is skipped."""

    def start_overflow_check(self, pre_cond: Any, compute_input: Any) -> Any:
        """Nothing to clear: there is no status register."""
        return ops.zeros((8,), ms.int32), compute_input

    def get_overflow_status(self, status: Any, compute_output: Any) -> Any:
        """Whether any element of any gradient is infinite or no number (compiled, so plain operations only)."""
        finite = True
        for gradient in compute_output:
            finite = ops.logical_and(finite, ops.isfinite(gradient).all())
        return ops.logical_not(finite)


def replace_barrier() -> None:
    """Makes MindFormers wait by a sum over all ranks: the operation Barrier has no kernel on CPU."""
    import mindformers.trainer.utils
    import mindformers.utils.parallel_utils
    import mindformers.version_control
    import mindspore.communication.comm_func

    for module in (
        mindspore.communication.comm_func,
        mindformers.trainer.utils,
        mindformers.version_control,
        mindformers.utils.parallel_utils,
    ):
        if hasattr(module, "barrier"):
            module.barrier = _barrier


def _barrier(*_: Any, **__: Any) -> None:
    from mindspore.communication import get_group_size

    if get_group_size() > 1:
        ops.AllReduce()(ms.Tensor(np.ones(1, np.float32))).asnumpy()
