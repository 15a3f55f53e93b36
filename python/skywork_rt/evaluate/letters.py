"""How a server writes the tokens of the four letters.

Which token is meant is the recipe's choice: the last one of the letter by itself. Vocabularies with a space in front of
words have two that look alike, `A` and ` A`, and their probabilities differ widely: they must not be mixed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from skywork_rt.errors import BackendError
from skywork_rt.evaluate.server_client import Refused, ServerClient
from skywork_rt.evaluate.task import CHOICES
from skywork_rt.text.tokenizer import Tokenizer

__all__ = ["Letters", "letters_of_server", "letters_of_tokenizer"]

_SPACES = ("▁", "Ġ", " ")
"""How vocabularies write a space."""


@dataclass(frozen=True)
class Letters:
    """`space`: whether the letters' tokens begin with one. `known_by`: who said so, for the reader of the numbers.
    `ids`: those of the four, where they are known."""

    space: bool
    known_by: str
    ids: tuple[int, ...] | None = None

    def text(self, letter: str) -> str:
        return (" " if self.space else "") + letter

    def find(self, best: Mapping[str, float], letter: str) -> float | None:
        """The letter's log-probability among tokens by their texts."""
        return next((value for token, value in best.items() if self._plain(token) == self.text(letter)), None)

    @staticmethod
    def _plain(token: str) -> str:
        return " " + token[1:] if token.startswith(_SPACES) else token


def letters_of_tokenizer(tokenizer: Tokenizer) -> Letters:
    """By a tokenizer that is the server's, too."""
    ids = [tokenizer.encode(letter, add_special_tokens=False)[-1] for letter in CHOICES]
    return _letters([(token, tokenizer.token(token)) for token in ids], "the tokenizer of --tokenizer")


async def letters_of_server(client: ServerClient, model: str) -> Letters:
    """By the server's own route /tokenize (vLLM's); a server without it is taken to have letters without a space."""
    try:
        tokens = [await _last_token(client, model, letter) for letter in CHOICES]
    except (Refused, BackendError, KeyError, IndexError, TypeError, ValueError):
        return Letters(False, "nobody: the server has no route /tokenize; name its tokenizer with --tokenizer")
    return _letters(tokens, "the server's route /tokenize")


def _letters(tokens: Sequence[tuple[int, str]], known_by: str) -> Letters:
    space = all(text.startswith(_SPACES) for _, text in tokens)
    return Letters(space, known_by, tuple(token for token, _ in tokens))


async def _last_token(client: ServerClient, model: str, letter: str) -> tuple[int, str]:
    body = {"model": model, "prompt": letter, "add_special_tokens": False, "return_token_strs": True}
    answer = await client.post("/tokenize", body, below_v1=False)
    return int(answer["tokens"][-1]), str(answer["token_strs"][-1])
