"""The exceptions that skywork_rt raises. Each names its cause, with numbers, and the fix.

All derive from :class:`SkyworkError`; where Python has a built-in for the same mistake they derive from that too, so
``except ValueError`` works for a caller who knows nothing of this package.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "BackendError",
    "BackendUnavailableError",
    "BundleNotFoundError",
    "BusyError",
    "CancelledError",
    "CapacityError",
    "CheckpointError",
    "ClosedError",
    "CorruptBundleError",
    "DeadlineExceededError",
    "InternalError",
    "InvalidArgumentError",
    "SkyworkError",
    "UnsupportedError",
]


class SkyworkError(Exception):
    """The root of every exception of this package."""

    code: ClassVar[str] = "error"
    """Its stable name, which the C++ library gives it too (ErrorCodeName); checkpoint is Python's alone."""


class InvalidArgumentError(SkyworkError, ValueError):
    """A value that the caller gave is wrong: out of its range, of the wrong length or type, unknown."""

    code = "invalid_argument"


class CapacityError(SkyworkError):
    """Valid, but too large for what there is (cache, memory, disk): the same again will not fit either."""

    code = "capacity"


class BusyError(CapacityError):
    """No room at the moment: the queue is full, or others hold the cache. The same fits later: try again."""

    code = "busy"


class BundleNotFoundError(SkyworkError, FileNotFoundError):
    """The path does not exist or is no bundle."""

    code = "not_found"


class CorruptBundleError(SkyworkError, ValueError):
    """A file of a bundle is damaged: its size, hash, header or structure is not what it must be."""

    code = "corrupt_bundle"


class CheckpointError(SkyworkError, ValueError):
    """A checkpoint given to export is damaged, incomplete, contradicts its configuration, or tries to run code."""

    code = "checkpoint"


class UnsupportedError(SkyworkError):
    """Well formed, but this build, device, backend or export cannot do it."""

    code = "unsupported"


class BackendUnavailableError(SkyworkError):
    """The library of a backend is not installed or does not load."""

    code = "backend_unavailable"


class BackendError(SkyworkError):
    """A backend failed while it ran a step."""

    code = "backend"


class CancelledError(SkyworkError):
    """The request was cancelled by its owner or by shutdown."""

    code = "cancelled"


class DeadlineExceededError(SkyworkError, TimeoutError):
    """The request's own deadline passed."""

    code = "deadline_exceeded"


class ClosedError(SkyworkError):
    """The generator is closed, or is used in a child after fork()."""

    code = "closed"


class InternalError(SkyworkError):
    """A broken promise of our own: please report it."""

    code = "internal"


def class_of(code: str) -> type[SkyworkError]:
    """The class whose code this is; the core raises its errors through it."""
    kinds = [SkyworkError]
    for kind in kinds:
        kinds += kind.__subclasses__()  # grows while it is walked
    return next((kind for kind in kinds if kind.code == code), SkyworkError)
