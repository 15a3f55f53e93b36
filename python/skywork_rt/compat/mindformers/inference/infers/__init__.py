"""What InferTask gives."""

from skywork_rt.compat.mindformers.inference.infers.text_generator_infer import TextGeneratorInfer

__all__ = ["TextGeneratorInfer"]
