"""Loss and perplexity of an evaluation set, by the net that is trained."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mindspore as ms
import mindspore.dataset as ds
import numpy as np
from numpy.typing import NDArray

from skywork_rt.errors import InvalidArgumentError
from skywork_rt.recipe.train.ranks import Ranks

__all__ = ["EvalResult", "Evaluator"]

Int32Array = NDArray[np.int32]


@dataclass(frozen=True)
class EvalResult:
    """`loss` is the mean over all counted tokens, in nats; `tokens` how many that were."""

    loss: float
    tokens: int

    @property
    def perplexity(self) -> float:
        """exp(loss); infinite where that is too large a number."""
        return math.exp(self.loss) if self.loss < 700 else math.inf


class Evaluator:
    """Evaluates the same records every time, all of them: the last batch is filled up with rows that do not count.

    A position counts as in MindFormers' loss: its input is not the pad id and its label is not the ignored one. Every
    batch weighs as many tokens as it counts, so the result does not depend on the batch size (but for rounding).
    """

    def __init__(
        self,
        files: Sequence[Path],
        columns: Sequence[str],
        batch_size: int,
        pad_id: int,
        ignored_label: int,
        ranks: Ranks,
        shard: bool,
    ) -> None:
        """`shard`: every rank evaluates its part, and the results are joined; else all evaluate everything."""
        self._ranks = ranks
        self._shard = shard and ranks.size > 1
        parts: dict[str, Any] = {"num_shards": ranks.size, "shard_id": ranks.rank} if self._shard else {}
        names = [str(path) for path in files]
        whole = ds.MindDataset(names, columns_list=list(columns), shuffle=False)
        self._records = int(whole.get_dataset_size())
        if self._records == 0:
            raise InvalidArgumentError(f"the evaluation set {names[0]} has no records")
        self._dataset = ds.MindDataset(names, columns_list=list(columns), shuffle=False, **parts)
        self._batch_size, self._pad, self._ignored = batch_size, pad_id, ignored_label

    def run(self, network: Any) -> EvalResult:
        """All records through `network` in training form, which returns its loss; no weight changes."""
        total, tokens = 0.0, 0
        for batch in self._batches():
            counted = self._counted(batch)
            if counted == 0:
                continue
            loss = network(*(ms.Tensor(column) for column in batch))
            total += _mean_loss(loss) * counted
            tokens += counted
        return self._joined(total, tokens)

    def _batches(self) -> Iterator[list[Int32Array]]:
        """Batches of one size. A sharded MindDataset repeats records to make all shards equal; those do not count."""
        left = self._share() if self._shard else self._records
        rows: list[list[Int32Array]] = []
        for record in self._dataset.create_tuple_iterator(num_epochs=1, output_numpy=True):
            if left == 0:
                break
            left -= 1
            rows.append([np.asarray(column, np.int32) for column in record])
            if len(rows) == self._batch_size:
                yield [np.stack(column) for column in zip(*rows, strict=True)]
                rows = []
        if rows:
            filler = [np.full_like(column, self._pad) for column in rows[0]]
            rows += [filler] * (self._batch_size - len(rows))
            yield [np.stack(column) for column in zip(*rows, strict=True)]

    def _share(self) -> int:
        """How many records are this rank's own; MindDataset gives rank r the records r, r + size, …."""
        return len(range(self._ranks.rank, self._records, self._ranks.size))

    def _counted(self, batch: list[Int32Array]) -> int:
        inputs, labels = batch[0][:, :-1], batch[-1][:, 1:]
        return int(((inputs != self._pad) & (labels != self._ignored)).sum())

    def _joined(self, total: float, tokens: int) -> EvalResult:
        if not self._shard:
            return _result(total, tokens)
        mean = total / tokens if tokens else 0.0
        rows = self._ranks.gather([mean, tokens // 65536, tokens % 65536])
        counts = rows[:, 1] * 65536 + rows[:, 2]
        return _result(float((rows[:, 0] * counts).sum()), int(counts.sum()))


def _mean_loss(output: Any) -> float:
    """The loss, or with `calculate_per_token_loss` the sum of losses over the number of tokens."""
    if isinstance(output, list | tuple):
        numerator, denominator = (float(np.asarray(part.asnumpy()).ravel()[0]) for part in output[:2])
        return numerator / denominator
    return float(np.asarray(output.asnumpy()).ravel()[0])


def _result(total: float, tokens: int) -> EvalResult:
    if tokens == 0:
        raise InvalidArgumentError(
            "no token of the evaluation set counts: every input is the pad id or every label is the ignored one"
        )
    return EvalResult(total / tokens, tokens)
