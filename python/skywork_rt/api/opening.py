"""From what a caller names, a path and options, to an open core: by the core itself, or on a backend in Python."""

from __future__ import annotations

import atexit
import contextlib
import os
import reprlib
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skywork_rt import _core
from skywork_rt.api.options import options_for_core
from skywork_rt.backends import PythonBackend
from skywork_rt.bundle.info import BundleInfo
from skywork_rt.errors import InvalidArgumentError, SkyworkError

__all__ = ["Opened", "open_model", "vocabulary_path"]

MINDSPORE = "mindspore"


@dataclass
class Opened:
    """An open core, and the bundle that its texts come from."""

    core: _core.Generator
    bundle: BundleInfo
    keep: object = None
    """What lives as long as the generator, such as a temporary directory."""

    _at_exit: Callable[[], None] | None = None

    def closed(self) -> None:
        """The core is closed: nothing is left to do at the process's exit."""
        if self._at_exit is not None:
            atexit.unregister(self._at_exit)
            self._at_exit = None


def open_model(path: str | os.PathLike[str] | None, given: Mapping[str, Any]) -> Opened:
    """Opens what the arguments of `Generator` name. Raises as it does."""
    backend = given.get("backend")
    if isinstance(backend, PythonBackend):
        options = options_for_core({name: value for name, value in given.items() if name != "backend"})
        bundle = BundleInfo(Path(), {}) if path is None else _checked_bundle(_text(path))
        return on_backend(backend, options, bundle)
    if backend is not None and not isinstance(backend, str):
        raise InvalidArgumentError(
            f"backend is {reprlib.repr(backend)}, but must be a backend's name, or an object whose class derives from "
            "skywork_rt.backends.PythonBackend"
        )
    _check_name(backend or "auto")
    if path is None:
        raise InvalidArgumentError("no bundle is given; only a backend that is a PythonBackend does without one")
    options = options_for_core(given)
    if backend == MINDSPORE:
        return _open_mindspore(_text(path), options)
    return Opened(_core.Generator(_text(path), options), BundleInfo.open(_text(path)))


def on_backend(
    backend: PythonBackend, options: Mapping[str, Any], bundle: BundleInfo, *, keep: object = None
) -> Opened:
    """A core on a backend in Python; what text is made with comes from `bundle`."""
    core = _core.Generator.on_backend(backend, dict(options), vocabulary_path(bundle))
    opened = Opened(core, bundle, keep)
    # Python's last moments are no time to compute: the process's exit waits for the step that runs, and ends the rest.
    # Registered once the backend has loaded its libraries, so that this comes before what they do at exit.
    reference = weakref.ref(core)

    def close() -> None:
        left = reference()
        if left is not None:
            with contextlib.suppress(SkyworkError):  # a child of fork() has nothing to close
                left.close()

    opened._at_exit = close
    atexit.register(close)
    return opened


def _check_name(backend: str) -> None:
    known = ["auto", *(name for name, _ in _core.backends()), MINDSPORE]
    if backend not in known:
        raise InvalidArgumentError(
            f'backend is "{backend}", but must be {", ".join(known)}, or a PythonBackend of your own'
        )


def _open_mindspore(path: str, options: dict[str, Any]) -> Opened:
    from skywork_rt.mindspore_backend.opening import open_on_mindspore

    model = open_on_mindspore(Path(path), options)
    return on_backend(model.backend, model.options, model.bundle, keep=model.scratch)


def _checked_bundle(path: str) -> BundleInfo:
    _core.read_bundle_model(path)  # everything that the core checks of a bundle
    return BundleInfo.open(path)


def vocabulary_path(bundle: BundleInfo) -> str:
    """Path of vocab.bin, its SHA-256 checked; empty when there is none."""
    for name, entry in bundle.section("files").items():
        if entry.get("role") == "vocabulary":
            bundle.read_checked(name)
            return str(bundle.directory / name)
    return ""


def _text(path: str | os.PathLike[str]) -> str:
    text = os.fspath(path)
    if not isinstance(text, str):
        raise InvalidArgumentError(f"the bundle's path is {type(text).__name__}; give a str or a Path")
    return text
