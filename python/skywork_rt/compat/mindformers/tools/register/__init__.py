"""MindFormerConfig and its base."""

from skywork_rt.compat.mindformers.tools.register.config import DictConfig, MindFormerConfig

__all__ = ["DictConfig", "MindFormerConfig"]
