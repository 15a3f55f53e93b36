"""Bundles around graphs that MindFormers has exported: `skywork-rt adopt`."""

from skywork_rt.export.adopt.adopt import adopt

__all__ = ["adopt"]
