"""Where MindFormers has its configurations."""

from skywork_rt.compat.mindformers.tools.register import DictConfig, MindFormerConfig

__all__ = ["DictConfig", "MindFormerConfig"]
