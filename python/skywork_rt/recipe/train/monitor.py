"""The callback that watches a training: log, curve, evaluation, checkpoints, overflow, and the way to stop."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from mindspore import Tensor
from mindspore.train.callback import Callback

from skywork_rt.errors import BackendError
from skywork_rt.recipe.train.curve import draw_curve
from skywork_rt.recipe.train.evaluation import Evaluator
from skywork_rt.recipe.train.ranks import Ranks
from skywork_rt.recipe.train.records import LossLog, StepRecord
from skywork_rt.recipe.train.saver import Saver
from skywork_rt.recipe.train.stop import StopRequest
from skywork_rt.recipe.train.throughput import StepClock

__all__ = ["Monitor", "Watch"]

MAX_OVERFLOWS = 25
"""Steps in a row that may overflow: from the usual first scale of 65536, halving reaches 1 after 16."""

CURVE_EVERY = 100
"""Steps between two drawings of the curve; it is drawn at the end and after evaluations as well."""


class Writer(Protocol):
    """Where numbers go beside the log: TensorBoard."""

    def add(self, record: StepRecord) -> None: ...

    def close(self) -> None: ...


@dataclass
class Watch:
    """What `Monitor` works with, and what it has to say afterwards.

    Steps count from 1 over the whole training; `first_step` is the last one that was done before, `last_step` the one
    after which it ends. `state` are the values of a resumed checkpoint that belong to the step cell.
    """

    ranks: Ranks
    saver: Saver
    stop: StopRequest
    clock: StepClock
    say: Callable[[str], None]
    progress: Callable[[int, int], None]
    first_step: int
    last_step: int
    steps_per_epoch: int
    report_every: int = 1
    eval_every: int = 0
    peak: float | None = None
    flops_per_token: float = 0.0
    loss_divisor: float = 1.0
    evaluator: Evaluator | None = None
    log: LossLog | None = None
    curve: Path | None = None
    writers: list[Writer] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)
    stopped_by: int | None = None
    step: int = 0


class Monitor(Callback):  # type: ignore[misc]
    """Called by mindspore.Model around every step."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch
        self._overflows = 0
        self._scale = 1.0
        watch.step = watch.first_step

    def on_train_begin(self, run_context: Any) -> None:
        """Puts back what MindFormers' resume leaves out: the loss scale's own counters."""
        state = self._watch.state
        for parameter in run_context.original_args().train_network.get_parameters():
            if parameter.name in state:
                value = np.asarray(state[parameter.name]).reshape(parameter.shape)
                parameter.set_data(Tensor(value, parameter.dtype))

    def on_train_step_begin(self, run_context: Any) -> None:
        """The data set has been opened by now."""
        del run_context
        self._watch.stop.listen()

    def on_train_step_end(self, run_context: Any) -> None:
        """One step, or a whole sink, is done."""
        watch, arguments = self._watch, run_context.original_args()
        steps = watch.first_step + int(arguments.cur_step_num) - watch.step
        if steps <= 0:  # the same step told twice
            return
        watch.step += steps
        record, asked = self._measure(arguments.net_outputs, steps)
        record = self._evaluated(record, steps, arguments.train_network)
        self._publish(record)
        self._check_overflow(record)
        watch.progress(watch.step, watch.last_step)
        if watch.saver.due(watch.step):
            self._save(arguments.train_network)
        if asked:
            watch.stopped_by = asked
        if asked or watch.step >= watch.last_step:  # the second is runner_config.stop_step
            run_context.request_stop()
        watch.clock.resume()

    def on_train_end(self, run_context: Any) -> None:
        """The state after the last step, whether or not it falls on the interval."""
        watch = self._watch
        if watch.step > watch.saver.last_step:
            self._save(run_context.original_args().train_network)
        self.finish()

    def finish(self) -> None:
        """Closes the log and draws the curve; called after an error as well."""
        watch = self._watch
        if watch.log is not None:
            watch.log.close()
            if watch.curve is not None:
                draw_curve(watch.log.records, watch.curve)
        for writer in watch.writers:
            writer.close()

    def _measure(self, outputs: Any, steps: int) -> tuple[StepRecord, int]:
        """The record of the step, and the signal by which any rank was asked to stop (0 for none)."""
        watch = self._watch
        parts = outputs if isinstance(outputs, list | tuple) else (outputs,)
        loss, overflow, scale, rate, norm = ([_number(part) for part in parts[:5]] + [None] * 5)[:5]
        speed = watch.clock.step_done(steps)
        mine = (loss if loss is not None else math.nan) / watch.loss_divisor
        rows = watch.ranks.gather([mine, float(bool(overflow)), float(watch.stop.signal or 0)])
        self._scale = scale if scale is not None else 1.0
        record = StepRecord(
            step=watch.step,
            epoch=(watch.step - 1) // watch.steps_per_epoch + 1,
            loss=watch.ranks.loss(rows[:, 0]),
            learning_rate=rate,
            loss_scale=scale,
            grad_norm=norm,
            overflow=bool(rows[:, 1].any()),
            tokens_per_second=round(speed, 2) if speed is not None else None,
        )
        return record, int(rows[:, 2].max())

    def _evaluated(self, record: StepRecord, steps: int, train_network: Any) -> StepRecord:
        watch = self._watch
        every, step = watch.eval_every, watch.step
        due = watch.evaluator is not None and every > 0 and step // every > (step - steps) // every
        if not due or watch.evaluator is None:
            return record
        result = watch.evaluator.run(train_network.network)
        return replace(record, eval_loss=result.loss, eval_perplexity=result.perplexity)

    def _publish(self, record: StepRecord) -> None:
        watch = self._watch
        if watch.log is not None:
            watch.log.add(record)
            if watch.curve is not None and (record.step % CURVE_EVERY == 0 or record.eval_loss is not None):
                draw_curve(watch.log.records, watch.curve)
        for writer in watch.writers:
            writer.add(record)
        shown = record.step % watch.report_every == 0 or record.step in (watch.first_step + 1, watch.last_step)
        if shown or record.overflow or record.eval_loss is not None:
            watch.say(self._line(record))

    def _line(self, record: StepRecord) -> str:
        watch = self._watch
        parts = [f"step {record.step}/{watch.last_step}", f"loss {record.loss:.4f}"]
        if record.learning_rate is not None:
            parts.append(f"lr {record.learning_rate:.3g}")
        if record.grad_norm is not None:
            parts.append(f"norm {record.grad_norm:.4g}")
        if record.loss_scale is not None and record.loss_scale != 1:
            parts.append(f"scale {record.loss_scale:g}")
        if record.tokens_per_second:
            parts.append(f"{record.tokens_per_second:,.0f} tokens/s a card")
            if watch.peak:
                parts.append(f"{record.tokens_per_second * watch.flops_per_token / watch.peak:.1%} of peak")
        if record.overflow:
            parts.append("overflow: step skipped")
        if record.eval_loss is not None:
            parts.append(f"evaluation loss {record.eval_loss:.4f}, perplexity {record.eval_perplexity:.4g}")
        return "  ".join(parts)

    def _check_overflow(self, record: StepRecord) -> None:
        """Stops what will not recover. Raises BackendError; all ranks see the same record, so all stop."""
        self._overflows = self._overflows + 1 if record.overflow else 0
        if not math.isfinite(record.loss) and not record.overflow:
            raise BackendError(
                f"the loss of step {record.step} is {record.loss} though no gradient overflowed: the weights are no "
                "numbers any more; resume from an earlier checkpoint with a lower lr_schedule.learning_rate"
            )
        if self._overflows >= MAX_OVERFLOWS:
            raise BackendError(
                f"{self._overflows} steps in a row overflowed, down to a loss scale of {self._scale:g}, and were "
                f"skipped; the weights are those after step {record.step - self._overflows}. The loss itself is "
                f"{record.loss}: lower lr_schedule.learning_rate, look at the data, or compute in float32"
            )

    def _save(self, train_network: Any) -> None:
        watch = self._watch
        path = watch.saver.save(train_network, watch.step, self._scale)
        watch.say(f"step {watch.step} saved: {path}")


def _number(part: Any) -> float | None:
    """A tensor of one element, or a plain number; None stays None."""
    if part is None:
        return None
    value = part.asnumpy() if hasattr(part, "asnumpy") else part
    return float(np.asarray(value).ravel()[0])
