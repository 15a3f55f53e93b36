"""The fronts of other systems, over this one: `mindformers` and the little of `mindspore` that its scripts use."""
