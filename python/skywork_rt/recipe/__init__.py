"""The recipe of Skywork-13B on MindFormers around the runtime: preparing data, training."""
