"""Ranges of devices as the recipe writes them: "[0,8)" and "[0,8]"."""

from __future__ import annotations

import re

from skywork_rt.errors import InvalidArgumentError

__all__ = ["MOST_DEVICES", "device_range", "launch_devices"]

MOST_DEVICES = 1024
_RANGE = re.compile(r"\[\s*(\d+)\s*,\s*(\d+)\s*([\])])")


def device_range(text: str) -> range:
    """`[0,8)` is 0 to 7, and `[0,7]` too. Raises InvalidArgumentError for anything else."""
    first, last, closed = _parsed(text)
    return _checked(text, first, last + 1 if closed else last)


def launch_devices(text: str, count: int) -> range:
    """The devices of a launch. run_singlenode.sh takes `[0,8]` for the devices 0 to 7, where `count` is 8; with a count
    of 9 it is 0 to 8. Raises InvalidArgumentError when the range has another number of devices than `count`."""
    first, last, closed = _parsed(text)
    for stop in (last, last + 1) if closed else (last,):
        if stop - first == count:
            return _checked(text, first, stop)
    raise InvalidArgumentError(f"the device range {text} does not have the {count} devices that DEVICE_NUM says")


def _parsed(text: str) -> tuple[int, int, bool]:
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        raise InvalidArgumentError(f"{text!r} is no range of devices; write it as '[0,8)', which is 0 to 7")
    return int(match[1]), int(match[2]), match[3] == "]"


def _checked(text: str, first: int, stop: int) -> range:
    if not first < stop <= first + MOST_DEVICES:
        raise InvalidArgumentError(
            f"the device range {text} has {max(0, stop - first)} devices; it needs 1 to {MOST_DEVICES}"
        )
    return range(first, stop)
