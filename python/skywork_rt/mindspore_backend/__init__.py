"""`backend="mindspore"`: the exporter's `mindspore.nn` cells run by MindSpore itself, behind the engine.

It is an oracle for the graphs, and runs models where there is no MindSpore Lite: from a bundle, whose weights are
turned into float32, or from a checkpoint. Nothing here is imported before somebody asks for this backend; MindSpore
comes with the extra [export].
"""
