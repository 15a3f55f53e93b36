"""From the options of `skywork-rt eval` to what answers its questions: a model, or a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from skywork_rt.errors import InvalidArgumentError

if TYPE_CHECKING:
    from skywork_rt.cli.options import ModelOptions
    from skywork_rt.evaluate.model_scorer import ModelScorer
    from skywork_rt.evaluate.scorer import Scorer
    from skywork_rt.evaluate.server_scorer import ServerScorer
    from skywork_rt.text.tokenizer import Tokenizer

__all__ = ["ServerOptions", "open_scorer", "open_tokenizer"]

_CONCURRENCY = 8


@dataclass(frozen=True)
class ServerOptions:
    """What is said about a server; None for what was not given."""

    url: str | None
    model: str | None
    api_key_env: str | None
    concurrency: int | None

    def given(self) -> list[str]:
        """The options, as they are written."""
        names = [field.name for field in fields(self) if getattr(self, field.name) is not None]
        return [f"--{name.replace('_', '-')}" for name in names]


@contextmanager
def open_scorer(
    bundle: Path | None, model: ModelOptions, tokenizer: Path | None, batch: int | None, server: ServerOptions
) -> Iterator[Scorer]:
    """Either kind, closed at the end. Raises InvalidArgumentError for options of the one that is not asked for."""
    if (bundle is None) == (server.url is None):
        raise InvalidArgumentError("give a MODEL or a server's --url" + (", not both" if server.url else ""))
    own = open_tokenizer(tokenizer) if tokenizer is not None else None
    if bundle is None:
        _refuse_options_of_a_model(model, batch)
        yield from _server_scorer(server, own)
    else:
        if server.given():
            raise InvalidArgumentError(f"{', '.join(server.given())}: only with --url")
        yield from _model_scorer(bundle, model if batch is None else model.with_value("max_batch", batch), own)


def open_tokenizer(path: Path) -> Tokenizer:
    """Of a tokenizer.model, a tokenizer.json, a directory or a GGUF file."""
    from skywork_rt.checkpoints.open_tokenizer import open_tokenizer_files
    from skywork_rt.recipe.prepare.tokenise import tokenizer_of

    return tokenizer_of(open_tokenizer_files(path))


def _refuse_options_of_a_model(model: ModelOptions, batch: int | None) -> None:
    given = [f"--{name.replace('_', '-')}" for name in model.given()] + (["--batch"] if batch is not None else [])
    if given:
        raise InvalidArgumentError(f"{', '.join(given)} say how a MODEL is opened: not with --url")


def _server_scorer(server: ServerOptions, tokenizer: Tokenizer | None) -> Iterator[ServerScorer]:
    from skywork_rt.evaluate.letters import letters_of_tokenizer
    from skywork_rt.evaluate.server_client import ServerClient
    from skywork_rt.evaluate.server_scorer import ServerScorer

    assert server.url is not None, "it was looked at"
    letters = letters_of_tokenizer(tokenizer) if tokenizer is not None else None
    client = ServerClient(server.url, server.api_key_env)
    try:
        yield ServerScorer(client, server.model, server.concurrency or _CONCURRENCY, letters)
    finally:
        client.close()


def _model_scorer(bundle: Path, model: ModelOptions, tokenizer: Tokenizer | None) -> Iterator[ModelScorer]:
    from skywork_rt.evaluate.identity import files_identity
    from skywork_rt.evaluate.model_scorer import ModelScorer

    with model.open(bundle) as generator:
        yield ModelScorer(generator, files_identity(bundle), tokenizer)
