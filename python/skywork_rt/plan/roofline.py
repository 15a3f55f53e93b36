"""How fast a device can be at best: the longer of reading and computing (Williams et al. 2009, the roofline model)."""

from __future__ import annotations

from dataclasses import dataclass

from skywork_rt.plan.devices import Device
from skywork_rt.plan.geometry import Geometry

__all__ = ["Cost", "Roofline"]

FLOAT16 = 2


@dataclass(frozen=True)
class Cost:
    """Of a step: bytes read from memory, floating-point operations, and seconds at best."""

    bytes: float
    flops: float
    seconds: float


@dataclass(frozen=True)
class Roofline:
    """A model in float16 on a device. Sizes in bytes, times in seconds."""

    geometry: Geometry
    device: Device

    @property
    def weight_bytes(self) -> int:
        """Of all weights, in the device's memory."""
        return FLOAT16 * self.geometry.parameters

    @property
    def cache_bytes_per_token(self) -> int:
        return FLOAT16 * self.geometry.cache_numbers

    def memory(self, batch: int, length: int) -> int:
        """Weights and a cache of `length` tokens for each of `batch` rows."""
        return self.weight_bytes + batch * length * self.cache_bytes_per_token

    def most_rows(self, length: int) -> int:
        """Rows of `length` tokens whose cache fits beside the weights."""
        left = self.device.memory_bytes - self.weight_bytes
        return max(0, int(left // (length * self.cache_bytes_per_token)))

    def decode_step(self, batch: float, context: float) -> Cost:
        """One token for each of `batch` rows of `context` cached tokens: the weights are read once for all."""
        read = FLOAT16 * self.geometry.read_parameters + batch * context * self.cache_bytes_per_token
        flops = batch * self.geometry.decode_flops(context)
        return self._cost(read, flops)

    def prefill(self, tokens: int, batch: int = 1) -> Cost:
        """Prompts of `tokens` tokens for `batch` rows."""
        read = FLOAT16 * self.geometry.read_parameters + batch * tokens * self.cache_bytes_per_token
        return self._cost(read, batch * self.geometry.prefill_flops(tokens))

    def generation(self, batch: int, prompt: int, new: int) -> float:
        """Seconds for `new` tokens a row after prompts of `prompt` tokens, prefill and all."""
        return self.prefill(prompt, batch).seconds + new * self.decode_step(batch, prompt + new / 2).seconds

    def _cost(self, read: float, flops: float) -> Cost:
        return Cost(read, flops, max(read / self.device.bytes_per_second, flops / self.device.flops))
