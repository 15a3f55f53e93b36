"""The recipe at a small scale, end to end: text, tokenizer, MindRecord, training, conversion both ways, bundle.

Run by ``make demo-recipe``, in about a minute. Every step is a command that the real model takes, too, and is shown.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

from capitals import CONTINUATION, LIST, PROMPT, train_tokenizer
from rich.console import Console
from rich.table import Table

NEW_TOKENS = 16
LENGTH = 128
STEPS = 100
BATCH = 4
WAYS = (
    ("MindSpore Lite", ("--backend", "lite")),
    ("native, f32", ("--backend", "native", "--weights", "f32")),
    ("native, int8", ("--backend", "native", "--weights", "int8")),
    ("MindSpore", ("--backend", "mindspore")),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="a folder for everything, which must be empty or new")
    parser.add_argument("--json", type=Path, help="also write the answers to this file")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if any(options.out.iterdir()):
        sys.exit(f"{options.out} is not empty; give another folder, or remove it")
    answers = Demo(options.out, Console(highlight=False)).run()
    if options.json:
        options.json.write_text(json.dumps(answers, ensure_ascii=False), encoding="utf-8")
    if any(answer["ids"] != answers[0]["ids"] for answer in answers):
        sys.exit("the backends do not agree")
    if not answers[0]["text"].startswith(CONTINUATION):
        sys.exit(f"the model has not learned its text: it goes on with {answers[0]['text']!r}")


class Demo:
    """Runs the steps in a folder and shows them."""

    def __init__(self, folder: Path, console: Console) -> None:
        self._folder = folder
        self._console = console

    def run(self) -> list[dict[str, object]]:
        """The answer of each way to run the model: name, text and ids."""
        started = time.perf_counter()
        self._write_text()
        self._call("prepare", "train.txt", "--out", "train.mindrecord", "--tokenizer", "tokenizer", "--seq-length",
                   str(LENGTH), "--layout", "document")  # fmt: skip
        self._call("train", "--config", "run_tiny_llama_cpu", "--train_dataset", "train.mindrecord", "--output_dir",
                   "training", quiet=True)  # fmt: skip
        self._console.print(f"  the curve of the loss is {self._folder / 'training' / 'loss.png'}")
        checkpoint = self._checkpoint()
        self._call("convert", checkpoint, "huggingface", "--tokenizer", "tokenizer")
        self._call("convert", "huggingface", "mindspore/tiny_llama.ckpt")
        self._call("export", "mindspore/tiny_llama.ckpt", "bundle", "--for", "lite,native", "--weights", "f32,int8")
        answers = [self._answer(name, "bundle", *arguments) for name, arguments in WAYS]
        answers.append(self._answer("MindSpore, the .ckpt", "mindspore/tiny_llama.ckpt", *WAYS[-1][1]))
        self._show(answers)
        self._console.print(f"{time.perf_counter() - started:.0f} s in all")
        return answers

    def _write_text(self) -> None:
        self._console.print(f"[bold]A text[/bold] of {STEPS * BATCH} times {LIST[:31]}… and a tokenizer of it")
        (self._folder / "train.txt").write_text("\n".join([LIST] * STEPS * BATCH), encoding="utf-8")
        train_tokenizer(self._folder / "tokenizer")

    def _call(self, *arguments: str, quiet: bool = False) -> str:
        """Runs one of our commands in the folder, as a user would."""
        self._console.print(f"[bold]skywork-rt {shlex.join(arguments)}[/bold]", soft_wrap=True)
        done = subprocess.run(
            [sys.executable, "-m", "skywork_rt", *arguments],
            cwd=self._folder,
            stdout=subprocess.PIPE,  # progress bars and errors go to where ours go
            text=True,
            check=False,
        )
        if done.returncode != 0:
            sys.exit(done.stdout)
        for line in done.stdout.splitlines()[-2 if quiet else 0 :]:
            self._console.print(f"  {line}", soft_wrap=True)
        return done.stdout

    def _checkpoint(self) -> str:
        (found,) = (self._folder / "training" / "checkpoint" / "rank_0").glob("*.ckpt")
        return str(found.relative_to(self._folder))

    def _answer(self, name: str, model: str, *arguments: str) -> dict[str, object]:
        greedy = ("--temperature", "0", "--max-tokens", str(NEW_TOKENS), "--json")
        done = subprocess.run(
            [sys.executable, "-m", "skywork_rt", "generate", model, PROMPT, *greedy, *arguments],
            cwd=self._folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            sys.exit(done.stderr)
        (output,) = json.loads(done.stdout)["outputs"]
        return {"way": name, "text": output["text"], "ids": output["token_ids"]}

    def _show(self, answers: list[dict[str, object]]) -> None:
        table = Table(title=PROMPT, box=None, title_justify="left")
        table.add_column("on")
        table.add_column("goes on with")
        for answer in answers:
            table.add_row(str(answer["way"]), str(answer["text"]))
        self._console.print(table)


if __name__ == "__main__":
    main()
