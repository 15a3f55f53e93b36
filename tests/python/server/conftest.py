"""Servers that many tests share: one of the tiny model, one of a model whose answers do not end by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
from serving import Serving, serving

import skywork_rt


@pytest.fixture(scope="session")
def tiny_server(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("tiny"), f"tiny={tiny_bundle}") as server:
        yield server


@pytest.fixture(scope="session")
def endless_server(endless_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """With room for 8 sequences and a queue of 4 behind them."""
    options = ("--max-batch", "8", "--max-queue", "4", "--request-seconds", "60", "--max-cached-tokens", "200000")
    with serving(tmp_path_factory.mktemp("endless"), f"endless={endless_bundle}", *options) as server:
        yield server


@pytest.fixture(scope="session")
def lenient_server(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """With what others have switched off, and a name with a slash."""
    options = ("--lenient", "--allow-priority", "--log-prompts")
    with serving(tmp_path_factory.mktemp("lenient"), f"people/tiny={tiny_bundle}", *options) as server:
        yield server


@pytest.fixture(scope="session")
def tiny(tiny_bundle: Path) -> Iterator[skywork_rt.Generator]:
    """The tiny model in this process, to compare with."""
    with skywork_rt.Generator(tiny_bundle, backend="native", threads=1) as generator:
        yield generator


@pytest.fixture
def client(tiny_server: Serving) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=tiny_server.base, api_key="none", max_retries=0) as opened:
        yield opened


@pytest.fixture
def http(tiny_server: Serving) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=tiny_server.url, timeout=60) as opened:
        yield opened
