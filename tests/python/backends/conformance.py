"""What every backend must do: tests/cpp/conformance/conformance.h once more, for backends that C++ cannot make.

A test file derives a class from `Conformance` and gives it a fixture `make`, which opens a backend whose model has at
least 64 positions, for so many sequences and cached tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from skywork_rt._core import RawBackend
from skywork_rt.errors import BusyError, CapacityError, InvalidArgumentError, UnsupportedError

BATCH, LENGTH = 4, 64

Make = Callable[[int, int], RawBackend]
Logits = NDArray[np.float32]


class Fed:
    """A backend and the ways in which the tests feed it."""

    def __init__(self, raw: RawBackend) -> None:
        self.raw = raw
        self.vocab = raw.model.vocab_size

    def tokens(self, count: int, salt: int) -> list[int]:
        return [(salt * 7919 + i * 31 + i * i) % self.vocab for i in range(count)]

    def feed(self, seq: int, tokens: Sequence[int]) -> Logits:
        """The logits of the last token."""
        return self.raw.forward([(seq, tokens, [len(tokens) - 1])])[0]

    def alone(self, tokens: Sequence[int]) -> Logits:
        seq = self.raw.open(len(tokens))
        logits = np.concatenate([self.raw.forward([(seq, part, [len(part) - 1])]) for part in self._cut(tokens)])
        self.raw.close(seq)
        return np.asarray(logits[-1])

    def _cut(self, tokens: Sequence[int]) -> list[Sequence[int]]:
        most = self.raw.traits["max_chunk"]
        return [tokens[start : start + most] for start in range(0, len(tokens), most)]

    def expect_same(self, found: Logits, wanted: Logits) -> None:
        if self.raw.traits["bitwise"]:
            np.testing.assert_array_equal(found, wanted)
        else:
            np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-4 * float(np.ptp(wanted)) + 1e-6)


class Conformance:
    """The tests. `make` is the deriving class's fixture."""

    @pytest.fixture
    def fed(self, make: Make) -> Fed:
        return Fed(make(BATCH, BATCH * LENGTH))

    def test_prefill_chunks_and_decode_give_the_same_logits(self, fed: Fed) -> None:
        tokens = fed.tokens(20, 1)
        whole, cut, done = fed.raw.open(LENGTH), fed.raw.open(LENGTH), 0
        every = fed.raw.forward([(whole, tokens, list(range(20)))])
        for count in (1, 5, 1, 4, 8, 1):
            last = fed.feed(cut, tokens[done : done + count])
            done += count
            fed.expect_same(last, every[done - 1])
            assert fed.raw.length(cut) == done

    def test_a_batch_gives_each_sequence_its_own_logits(self, fed: Fed) -> None:
        mixed = fed.raw.traits["mixed_steps"]
        prompts = [fed.tokens(3 + 4 * i, i) for i in range(BATCH)]
        sequences = [fed.raw.open(LENGTH) for _ in prompts]
        chunks = []
        for i, (seq, prompt) in enumerate(zip(sequences, prompts, strict=True)):
            if mixed and i + 1 == BATCH:
                chunks.append((seq, list(prompt), [len(prompt) - 1]))
                continue
            fed.feed(seq, prompt)
            chunks.append((seq, fed.tokens(1, 50 + i), [0]))
            prompt += chunks[-1][1]
        logits = fed.raw.forward(chunks)
        for seq in sequences:
            fed.raw.close(seq)
        for row, prompt in zip(logits, prompts, strict=True):
            fed.expect_same(row, fed.alone(prompt))

    def test_sequences_come_and_go_while_others_grow_to_their_limit(self, fed: Fed) -> None:
        longest, tokens = fed.raw.open(LENGTH), fed.tokens(LENGTH, 3)
        for i, token in enumerate(tokens):
            guest = fed.raw.open(8)
            fed.feed(guest, fed.tokens(1 + i % 8, i))
            logits = fed.feed(longest, [token])
            fed.raw.close(guest)
        fed.raw.close(longest)
        fed.expect_same(logits, fed.alone(tokens))

    def test_a_step_may_want_no_logits(self, fed: Fed) -> None:
        seq = fed.raw.open(LENGTH)
        assert fed.raw.forward([(seq, fed.tokens(6, 4), [])]).shape == (0, fed.vocab)
        assert fed.raw.length(seq) == 6
        fed.expect_same(fed.feed(seq, fed.tokens(1, 9)), fed.alone(fed.tokens(6, 4) + fed.tokens(1, 9)))

    def test_forked_sequences_go_their_own_ways(self, fed: Fed) -> None:
        prompt = fed.tokens(13, 5)
        source, first, second = (fed.raw.open(LENGTH) for _ in range(3))
        fed.feed(source, prompt)
        if not fed.raw.traits["can_fork"]:
            with pytest.raises(UnsupportedError):
                fed.raw.reorder([source, source], [first, second])
            return
        fed.raw.reorder([source, source], [first, second])
        for salt, seq in enumerate((first, source, second), 60):
            assert fed.raw.length(seq) == len(prompt)
            more = fed.tokens(6, salt)
            fed.expect_same(fed.feed(seq, more), fed.alone(prompt + more))

    def test_reorder_reads_all_before_it_writes_any(self, fed: Fed) -> None:
        held = [fed.tokens(4 + 5 * i, 20 + i) for i in range(3)]
        sequences = [fed.raw.open(LENGTH) for _ in held]
        for seq, tokens in zip(sequences, held, strict=True):
            fed.feed(seq, tokens)
        fed.raw.reorder([sequences[1], sequences[2], sequences[0]], sequences)
        for seq, tokens in zip(sequences, (held[1], held[2], held[0]), strict=True):
            assert fed.raw.length(seq) == len(tokens)
            fed.expect_same(fed.feed(seq, fed.tokens(1, 30)), fed.alone(tokens + fed.tokens(1, 30)))

    def test_truncation_forgets_and_the_rest_can_be_written_anew(self, fed: Fed) -> None:
        prompt, seq = fed.tokens(20, 6), fed.raw.open(LENGTH)
        fed.feed(seq, prompt)
        if not fed.raw.traits["can_truncate"]:
            with pytest.raises(UnsupportedError):
                fed.raw.truncate(seq, 7)
            return
        fed.raw.truncate(seq, 7)
        assert fed.raw.length(seq) == 7
        fed.expect_same(fed.feed(seq, fed.tokens(5, 70)), fed.alone(prompt[:7] + fed.tokens(5, 70)))
        with pytest.raises(InvalidArgumentError):
            fed.raw.truncate(seq, 13)

    def test_a_refused_step_leaves_every_sequence_as_it_was(self, fed: Fed) -> None:
        good, small = fed.raw.open(LENGTH), fed.raw.open(4)
        held = fed.tokens(5, 8)
        fed.feed(good, held)
        fed.feed(small, fed.tokens(3, 9))
        fine = (good, [1], [0])
        for error, chunks in (
            (InvalidArgumentError, [fine, (small, [fed.vocab], [])]),
            (InvalidArgumentError, [fine, (small, [-1], [])]),
            (CapacityError, [fine, (small, [1, 2], [])]),
            (InvalidArgumentError, [fine, (small, [], [])]),
            (InvalidArgumentError, [fine, (good, [1], [])]),
            (InvalidArgumentError, [fine, (9999, [1], [])]),
            (InvalidArgumentError, [(good, [1, 2], [1, 0])]),
            (InvalidArgumentError, [(good, [1, 2], [2])]),
        ):
            with pytest.raises(error):
                fed.raw.forward(chunks)
            assert (fed.raw.length(good), fed.raw.length(small)) == (5, 3)
        fed.expect_same(fed.feed(good, [1]), fed.alone([*held, 1]))

    def test_a_step_that_is_given_up_leaves_every_sequence_as_it_was(self, fed: Fed) -> None:
        held, more = fed.tokens(5, 8), fed.tokens(20, 14)
        first, second = fed.raw.open(LENGTH), fed.raw.open(LENGTH)
        fed.feed(first, held)
        fed.feed(second, held)
        given_up = 0
        for at in range(1, 1000):
            logits = fed.raw.forward([(first, more, [len(more) - 1]), (second, more, [])], at)
            if logits is not None:
                break
            given_up += 1
            assert (fed.raw.length(first), fed.raw.length(second)) == (5, 5)
            fed.expect_same(fed.feed(first, [1]), fed.alone([*held, 1]))
            fed.raw.truncate(first, 5)
        assert logits is not None
        assert given_up > 0, "it never asks: whoever cancels waits for all of a step"
        fed.expect_same(logits[0], fed.alone(held + more))

    def test_ids_are_never_used_again_and_too_many_are_refused(self, fed: Fed) -> None:
        for tokens in (0, fed.raw.model.max_length + 1):
            with pytest.raises(InvalidArgumentError):
                fed.raw.open(tokens)
        opened = [fed.raw.open(LENGTH) for _ in range(fed.raw.traits["max_batch"])]
        with pytest.raises(BusyError):
            fed.raw.open(1)
        fed.raw.close(opened[1])
        fresh = fed.raw.open(LENGTH)
        assert fresh not in opened
        assert fed.raw.length(fresh) == 0
        for call in (fed.raw.length, fed.raw.close):
            with pytest.raises(InvalidArgumentError):
                call(opened[1])

    def test_a_copy_begins_like_its_source_and_both_go_their_own_ways(self, fed: Fed) -> None:
        if not fed.raw.traits["can_fork"]:
            pytest.skip("this backend cannot fork")
        prompt, source = fed.tokens(21, 5), fed.raw.open(LENGTH)
        fed.feed(source, prompt)
        for salt, length in enumerate((21, 20, 16, 3), 60):
            copy, more = fed.raw.open(length + 6), fed.tokens(6, salt)
            fed.feed(copy, fed.tokens(5, 7))  # it had something of its own
            fed.raw.copy(source, copy, length)
            assert (fed.raw.length(copy), fed.raw.length(source)) == (length, 21)
            fed.expect_same(fed.feed(copy, more), fed.alone(prompt[:length] + more))
            fed.raw.close(copy)
        fed.expect_same(fed.feed(source, fed.tokens(1, 80)), fed.alone(prompt + fed.tokens(1, 80)))

    def test_copy_refuses_what_is_not_there_and_changes_nothing(self, fed: Fed) -> None:
        if not fed.raw.traits["can_fork"]:
            pytest.skip("this backend cannot fork")
        a, b = fed.raw.open(LENGTH), fed.raw.open(4)
        fed.feed(a, fed.tokens(6, 11))
        fed.feed(b, fed.tokens(2, 12))
        for source, target, length in ((a, b, 5), (b, a, 3), (a, a, 3), (9999, a, 1), (a, 9999, 1)):
            with pytest.raises(InvalidArgumentError):
                fed.raw.copy(source, target, length)
            assert (fed.raw.length(a), fed.raw.length(b)) == (6, 2)

    def test_reservations_together_stay_within_the_cache(self, make: Make) -> None:
        small = make(BATCH, LENGTH + 10)
        if small.traits["block_tokens"] != 0:
            pytest.skip("blocks are not reserved")
        first = small.open(LENGTH)
        with pytest.raises(BusyError):
            small.open(11)
        small.close(small.open(10))
        small.close(first)
        assert small.length(small.open(LENGTH)) == 0

    def test_reorder_refuses_bad_pairs_and_changes_nothing(self, fed: Fed) -> None:
        a, b = fed.raw.open(LENGTH), fed.raw.open(4)
        fed.feed(a, fed.tokens(6, 11))
        fed.feed(b, fed.tokens(2, 12))
        for error, source, target in (
            (InvalidArgumentError, [a, b], [a]),
            (InvalidArgumentError, [a, b], [a, a]),
            (InvalidArgumentError, [9999], [a]),
            (InvalidArgumentError, [a], [9999]),
            (CapacityError, [b, a], [a, b]),
        ):
            with pytest.raises(error):
                fed.raw.reorder(source, target)
            assert (fed.raw.length(a), fed.raw.length(b)) == (6, 2)
