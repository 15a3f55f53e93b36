"""ik_llama.cpp, through the functions of its library that the package ik-llama-cpp-python declares.

It computes with a GGUF file's own blocks, repacked when they are loaded (its `-rtr 1`), and with activations rounded to
8 bits. `IK_LLAMA_CPP_LIB_PATH` names a library of one's own build, as the package reads it.
"""

from __future__ import annotations

import importlib
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skywork_rt.bench.drivers import DriverOptions
from skywork_rt.bench.workloads import Trace, Workload, random_prompts
from skywork_rt.errors import BackendUnavailableError, CheckpointError, InternalError

__all__ = ["IkLlamaDriver"]


class IkLlamaDriver:
    """Greedy, end tokens ignored; rows of a batch are sequences of one context, decoded together."""

    def __init__(self, gguf: Path, options: DriverOptions) -> None:
        self._api = _api()
        self._threads = int(options["threads"])
        self._rows = int(options["max_batch"])
        self._length = int(options["max_length"])
        self._api.llama_backend_init()
        params = self._api.llama_model_default_params()
        params.use_mmap, params.repack_tensors, params.n_gpu_layers = False, True, 0
        self._model = self._api.llama_model_load_from_file(str(gguf).encode(), params)
        if not self._model:
            raise CheckpointError(f"ik_llama.cpp does not load {gguf}")
        self._vocabulary = int(self._api.llama_vocab_n_tokens(self._api.llama_model_get_vocab(self._model)))
        self._context = self._open_context()

    def _open_context(self) -> Any:
        params = self._api.llama_context_default_params()
        params.n_ctx = self._rows * self._length
        params.n_batch = params.n_ctx
        params.n_seq_max = self._rows
        params.n_threads = params.n_threads_batch = self._threads
        params.flash_attn = True
        context = self._api.llama_init_from_model(self._model, params)
        if not context:
            raise InternalError("ik_llama.cpp opened no context")
        return context

    def run(self, workload: Workload, seed: int) -> Trace:
        prompts = random_prompts(workload, self._vocabulary, seed)
        self._api.llama_kv_cache_clear(self._context)
        rows = len(prompts)
        started = time.perf_counter()
        tokens = [self._decode([row], [prompt], 0)[0] for row, prompt in enumerate(prompts)]
        times = [time.perf_counter() - started]
        for step in range(workload.new_tokens - 1):
            fed = [np.array([token], np.int32) for token in tokens]
            tokens = self._decode(list(range(rows)), fed, workload.prompt_tokens + step)
            times.append(time.perf_counter() - started)
        gaps = tuple(later - earlier for earlier, later in pairwise(times)) if rows == 1 else ()
        return Trace(times[0], times[-1], rows * (len(times) - 1), rows * len(times), gaps)

    def _decode(self, rows: list[int], fed: list[NDArray[np.int32]], position: int) -> list[int]:
        """Computes what is fed to some sequences at `position`, and gives the best token after each."""
        count = sum(map(len, fed))
        batch = self._api.llama_batch_init(count, 0, 1)
        batch.n_tokens = count
        ends, place = [], 0
        for row, ids in zip(rows, fed, strict=True):
            for offset, token in enumerate(ids.tolist()):
                batch.token[place], batch.pos[place] = token, position + offset
                batch.n_seq_id[place], batch.seq_id[place][0] = 1, row
                batch.logits[place] = int(offset + 1 == len(ids))
                place += 1
            ends.append(place - 1)
        status = self._api.llama_decode(self._context, batch)
        self._api.llama_batch_free(batch)
        if status != 0:
            raise InternalError(f"ik_llama.cpp's llama_decode returned {status}")
        return [self._best(end) for end in ends]

    def _best(self, place: int) -> int:
        logits = self._api.llama_get_logits_ith(self._context, place)
        return int(np.ctypeslib.as_array(logits, (self._vocabulary,)).argmax())

    def first_token(self) -> None:
        self.run(Workload("first", 1, 1, 1), 0)

    def close(self) -> None:
        self._api.llama_free(self._context)
        self._api.llama_free_model(self._model)


def _api() -> Any:
    try:
        return importlib.import_module("ik_llama_cpp._ctypes_api")
    except ImportError as error:
        raise BackendUnavailableError(
            "measuring ik_llama.cpp needs its package: pip install ik-llama-cpp-python"
        ) from error
