"""Lite inference: InferConfig, and InferTask, which makes a model of it."""

from skywork_rt.compat.mindformers.inference.infer_config import InferConfig
from skywork_rt.compat.mindformers.inference.infer_task import InferTask

__all__ = ["InferConfig", "InferTask"]
