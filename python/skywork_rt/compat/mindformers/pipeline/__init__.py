"""`pipeline`, and the one for text_generation that it makes."""

from skywork_rt.compat.mindformers.pipeline.build_pipeline import pipeline
from skywork_rt.compat.mindformers.pipeline.text_generation_pipeline import TextGenerationPipeline

__all__ = ["TextGenerationPipeline", "pipeline"]
