"""llama.cpp's vocabulary, for the scripts that make golden files.

libllama.so is built from the source package llama_cpp_python 0.3.36 (vendor/llama.cpp, target llama); the fields of
ModelParameters are those of its include/llama.h.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class ModelParameters(ctypes.Structure):
    """llama_model_params of llama.h."""

    _fields_ = [
        ("devices", ctypes.c_void_p),
        ("tensor_buft_overrides", ctypes.c_void_p),
        ("n_gpu_layers", ctypes.c_int32),
        ("split_mode", ctypes.c_int),
        ("load_mode", ctypes.c_int),
        ("lazy_mode", ctypes.c_int),
        ("main_gpu", ctypes.c_int32),
        ("tensor_split", ctypes.c_void_p),
        ("progress_callback", ctypes.c_void_p),
        ("progress_callback_user_data", ctypes.c_void_p),
        ("kv_overrides", ctypes.c_void_p),
        *[
            (flag, ctypes.c_bool)
            for flag in ("vocab_only", "check_tensors", "use_extra_bufts", "no_host", "no_alloc", "load_mtp")
        ],
    ]


@ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
def silent(_level: int, _text: bytes, _data: int) -> None:
    pass


class Llama:
    """The few functions of llama.cpp that are needed."""

    def __init__(self, path: str) -> None:
        self._library = ctypes.CDLL(path)
        self._library.llama_log_set(silent, None)
        self._library.llama_backend_init()
        self._library.llama_model_default_params.restype = ModelParameters
        self._library.llama_model_load_from_file.restype = ctypes.c_void_p
        self._library.llama_model_load_from_file.argtypes = [ctypes.c_char_p, ModelParameters]
        self._library.llama_model_get_vocab.restype = ctypes.c_void_p
        self._library.llama_model_get_vocab.argtypes = [ctypes.c_void_p]
        self._library.llama_model_free.argtypes = [ctypes.c_void_p]
        self._library.llama_vocab_get_add_bos.argtypes = [ctypes.c_void_p]
        self._library.llama_vocab_get_add_bos.restype = ctypes.c_bool
        self._library.llama_vocab_n_tokens.argtypes = [ctypes.c_void_p]
        self._library.llama_vocab_is_eog.argtypes = [ctypes.c_void_p, ctypes.c_int32]
        self._library.llama_vocab_is_eog.restype = ctypes.c_bool
        self._library.llama_tokenize.argtypes = [
            ctypes.c_void_p,
            ctypes.c_char_p,
            ctypes.c_int32,
            ctypes.c_void_p,
            ctypes.c_int32,
            ctypes.c_bool,
            ctypes.c_bool,
        ]

    def encode(self, path: Path, texts: list[str], *, add_special: bool = False) -> tuple[bool, list[list[int]]]:
        """Whether BOS is added by default, and each text's ids, with what belongs around a prompt if `add_special`."""
        with self._vocabulary(path) as vocab:
            adds_bos = bool(self._library.llama_vocab_get_add_bos(vocab))
            return adds_bos, [self._ids(vocab, text.encode(), add_special) for text in texts]

    def ends(self, path: Path) -> list[int]:
        """The ids that end a generation."""
        with self._vocabulary(path) as vocab:
            count = self._library.llama_vocab_n_tokens(vocab)
            return [index for index in range(count) if self._library.llama_vocab_is_eog(vocab, index)]

    @contextmanager
    def _vocabulary(self, path: Path) -> Iterator[int]:
        parameters = self._library.llama_model_default_params()
        parameters.vocab_only = True
        model = self._library.llama_model_load_from_file(str(path).encode(), parameters)
        if not model:
            raise SystemExit(f"llama.cpp does not load {path.name}")
        yield self._library.llama_model_get_vocab(model)
        self._library.llama_model_free(model)

    def _ids(self, vocab: int, text: bytes, add_special: bool) -> list[int]:
        room = (ctypes.c_int32 * (len(text) + 8))()
        count = self._library.llama_tokenize(vocab, text, len(text), room, len(room), add_special, True)
        if count < 0:
            raise SystemExit(f"{-count} tokens for {len(text)} bytes")
        return list(room[:count])
