"""The context.cfg beside each graph: what Lite's provider ge reads through `Model::LoadConfig`.

Sections and values of the recipe's own file, and the gears where a graph has several
(`ge.inputShape`, `ge.dynamicDims`, `ge.dynamicNodeType` of CANN's graph options).
"""

from __future__ import annotations

from skywork_rt.export.device_cache import DeviceForm, Role
from skywork_rt.export.graph.ascend.contract import DeviceInput, inputs

__all__ = ["context_cfg"]

_CONTEXT = ("[ascend_context]", "plugin_custom_ops=All", "provider=ge")
_SESSION = (
    "[ge_session_options]",
    "ge.exec.formatMode=1",
    "ge.exec.precision_mode=must_keep_origin_dtype",
    "ge.externalWeight=1",
    "ge.exec.atomicCleanPolicy=1",
)


def context_cfg(role: Role, form: DeviceForm) -> str:
    """The file's text. Inputs stand in the order of their names, as GE wants them and MindFormers reads them."""
    sections = [_CONTEXT, _SESSION]
    if form.dynamic(role):
        sections.append(("[ge_graph_options]", *_gear_lines(role, form)))
    return "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def _gear_lines(role: Role, form: DeviceForm) -> tuple[str, ...]:
    moving = sorted(inputs(role, form), key=lambda spec: spec.name)
    shapes = (f"{spec.name}:{','.join(_open(spec))}" for spec in moving)
    gears = (",".join(str(size) for spec in moving for size in _moved(spec, gear)) for gear in form.gears(role))
    return f"ge.inputShape={';'.join(shapes)}", f"ge.dynamicDims={';'.join(gears)}", "ge.dynamicNodeType=1"


def _open(spec: DeviceInput) -> list[str]:
    return ["-1" if size is None else str(size) for size in spec.open_shape()]


def _moved(spec: DeviceInput, gear: tuple[int, int]) -> list[int]:
    return [size for size, opened in zip(spec.at(gear), spec.open_shape(), strict=True) if opened is None]
