"""Files of tensors: safetensors, and torch's pickles without running anything in them."""
