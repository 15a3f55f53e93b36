"""The recipe's script for Lite inference, as its users have it."""

import argparse

from mindformers import LlamaTokenizer
from mindformers.inference import InferTask
from mindformers.inference.infer_config import InferConfig

PROMPT = "陕西的省会是西安，甘肃的省会是兰州，河南的省会是郑州"


def main(args):
    config = InferConfig(
        prefill_model_path=args.full_model_path,
        increment_model_path=args.inc_model_path,
        model_name="llama",
        model_type="mindir",
        infer_seq_length=args.seq_length,
        ge_config_path=args.config_path,
        device_id=args.device_id,
        add_special_tokens=False,
    )
    tokenizer = LlamaTokenizer(args.token_path, add_bos_token=True, add_eos_token=False)
    task = InferTask.get_infer_task("text_generation", config, tokenizer=tokenizer)
    for _ in range(args.loop):
        texts = task.infer(
            [PROMPT] * args.batch_size,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            max_length=args.max_length,
            add_special_tokens=True,
        )
        for text in texts:
            print(text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--device_id", default=0, type=int)
    parser.add_argument("--full_model_path", default="", type=str)
    parser.add_argument("--inc_model_path", default="", type=str)
    parser.add_argument("--config_path", default="", type=str)
    parser.add_argument("--seq_length", default=4096, type=int)
    parser.add_argument("--batch_size", default=1, type=int)
    parser.add_argument("--max_length", default=128, type=int)
    parser.add_argument("--loop", default=2, type=int)
    parser.add_argument("--token_path", default="", type=str)
    main(parser.parse_args())
