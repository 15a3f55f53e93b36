"""GenerationConfig and the streamers."""

from skywork_rt.compat.mindformers.generation.generation_config import GenerationConfig
from skywork_rt.compat.mindformers.generation.streamers import BaseStreamer, TextIteratorStreamer, TextStreamer

__all__ = ["BaseStreamer", "GenerationConfig", "TextIteratorStreamer", "TextStreamer"]
