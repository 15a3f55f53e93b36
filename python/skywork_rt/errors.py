"""The exceptions that skywork_rt raises. Each names its cause, with numbers, and the fix.

All derive from :class:`SkyworkError`; where Python has a built-in for the same mistake they derive from that too, so
``except ValueError`` works for a caller who knows nothing of this package.
"""

from __future__ import annotations

__all__ = [
    "BackendError",
    "BackendUnavailableError",
    "BundleNotFoundError",
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


class InvalidArgumentError(SkyworkError, ValueError):
    """A value that the caller gave is wrong: out of its range, of the wrong length or type, unknown."""


class CapacityError(SkyworkError):
    """The request is valid but does not fit now: queue full, cache exhausted, disk full."""


class BundleNotFoundError(SkyworkError, FileNotFoundError):
    """The path does not exist or is no bundle."""


class CorruptBundleError(SkyworkError, ValueError):
    """A file of a bundle is damaged: its size, hash, header or structure is not what it must be."""


class CheckpointError(SkyworkError, ValueError):
    """A checkpoint given to export is damaged, incomplete, contradicts its configuration, or tries to run code."""


class UnsupportedError(SkyworkError):
    """Well formed, but this build, device, backend or export cannot do it."""


class BackendUnavailableError(SkyworkError):
    """The library of a backend is not installed or does not load."""


class BackendError(SkyworkError):
    """A backend failed while it ran a step."""


class CancelledError(SkyworkError):
    """The request was cancelled by its owner or by shutdown."""


class DeadlineExceededError(SkyworkError, TimeoutError):
    """The request's own deadline passed."""


class ClosedError(SkyworkError):
    """The generator is closed, or is used in a child after fork()."""


class InternalError(SkyworkError):
    """A broken promise of our own: please report it."""
