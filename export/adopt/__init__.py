"""Bundles around graphs that MindFormers has exported: `skywork-rt adopt`."""

from skywork_rt.export.adopt.adopt import adopt, parse_gears

__all__ = ["adopt", "parse_gears"]
