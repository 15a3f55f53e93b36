"""Whether the shapes that someone names for graphs without sizes fit the cache, and leave no sequence without one.

The same rules as `ReadDeviceForm` of the runtime has, so that a bundle which is written can be opened.
"""

from __future__ import annotations

from collections.abc import Sequence

from skywork_rt.errors import InvalidArgumentError
from skywork_rt.export.device_cache import DeviceForm, Gear

__all__ = ["check_coverage"]


def check_coverage(form: DeviceForm) -> None:
    """Raises InvalidArgumentError that names the option and the shape that is too large, or missing."""
    _check_sizes(form.full_gears, form, "--gears", _capacity(form))
    if form.form == "paged":  # its steps find their length in the block tables
        return
    _check_sizes(form.incremental_gears, form, "--step-gears", form.positions)
    _require(form.incremental_gears, _most_rows(form), form.positions, "--step-gears", "sequences of full length")
    if form.form == "assign":
        _check_assign(form)


def _check_assign(form: DeviceForm) -> None:
    """One call begins a batch, and the batch goes on with its rows to the last position."""
    _require(form.full_gears, _most_rows(form), form.positions, "--gears", "the one call that begins a batch")
    for rows, _ in form.full_gears:
        if not any(batch == rows and length >= form.positions for batch, length in form.incremental_gears):
            raise InvalidArgumentError(
                f"--step-gears has no {rows}x{form.positions}, but a batch that began with {rows} rows goes on with "
                "them to the last position: add it"
            )


def _capacity(form: DeviceForm) -> int:
    """Positions that the cache has for one sequence."""
    if form.form != "paged":
        return form.positions
    return min(form.table, form.blocks - 1) * form.block_tokens


def _most_rows(form: DeviceForm) -> int:
    """Rows of the largest batch that runs."""
    rows = min(form.rows, max(batch for batch, _ in form.incremental_gears))
    return rows if form.form == "indexed" else min(rows, max(batch for batch, _ in form.full_gears))


def _check_sizes(gears: Sequence[Gear], form: DeviceForm, option: str, positions: int) -> None:
    for rows, tokens in gears:
        if tokens > positions or (form.form != "paged" and rows > form.rows):
            room = f"{positions} positions" if form.form == "paged" else f"{form.rows} rows of {positions} positions"
            raise InvalidArgumentError(f"{option} has {rows}x{tokens}, but the cache in the graphs has {room}")


def _require(gears: Sequence[Gear], rows: int, positions: int, option: str, what: str) -> None:
    if not any(batch >= rows and length >= positions for batch, length in gears):
        raise InvalidArgumentError(f"{option} has no shape for {what}: add {rows}x{positions}")
