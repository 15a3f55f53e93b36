"""Devices by name, with what their makers publish."""

from __future__ import annotations

from dataclasses import dataclass

from skywork_rt.errors import InvalidArgumentError
from skywork_rt.support.suggest import nearest

__all__ = ["DEVICES", "Device", "device_named"]


@dataclass(frozen=True)
class Device:
    """Peaks of one accelerator. Nobody reaches them; they bound what is possible."""

    name: str
    memory_bytes: float
    bytes_per_second: float
    """Of its memory, read."""
    flops: float
    """Dense float16 operations a second, a multiply-add counted as two."""
    source: str


DEVICES: dict[str, Device] = {
    device.name: device
    for device in (
        Device(
            "ascend-910b",
            64e9,
            1.6e12,
            376e12,
            "a die of the Ascend 910C, which has two, of 376 TFLOPS and 1.6 TB/s each: Zuo et al. 2025, "
            "arXiv 2506.12708; 64 GB: the recipe's card",
        ),
        Device("ascend-910b3", 64e9, 1.6e12, 313e12, "as ascend-910b, at the 313 TFLOPS of the third speed grade"),
        Device("ascend-910a", 32e9, 1.2e12, 256e12, "Liao et al. 2021, HPCA, table 5 (Ascend 910)"),
        Device("a100-80gb", 80e9, 2.039e12, 312e12, "NVIDIA A100 Tensor Core GPU datasheet, SXM 80 GB"),
        Device("a100-40gb", 40e9, 1.555e12, 312e12, "NVIDIA A100 Tensor Core GPU datasheet, SXM 40 GB"),
        Device("h100-80gb", 80e9, 3.35e12, 989e12, "NVIDIA H100 Tensor Core GPU datasheet, SXM"),
    )
}


def device_named(name: str) -> Device:
    """Raises InvalidArgumentError, which lists the known ones and the nearest."""
    found = DEVICES.get(name.lower())
    if found is None:
        near = nearest(name.lower(), DEVICES)
        hint = f"; did you mean {near!r}?" if near else "."
        raise InvalidArgumentError(
            f"there is no device {name!r}{hint} Known: {', '.join(DEVICES)}, cpu. Another one is described by "
            "--bandwidth, --tflops and --memory"
        )
    return found
