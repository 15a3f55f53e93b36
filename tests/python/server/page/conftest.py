"""One browser and one server for the tests of a file: a model that speaks, and one whose answers end never."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Visit, chromium, visit
from serving import Serving, serving


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def server(smollm2_bundle: Path, endless_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    bundles = (f"small={smollm2_bundle}", f"endless={endless_bundle}")
    options = ("--max-batch", "4", "--max-length", "8192")
    with serving(tmp_path_factory.mktemp("page"), *bundles, *options) as opened:
        yield opened


@pytest.fixture
def seen(browser: Any, server: Serving) -> Iterator[Visit]:
    """The page in a fresh profile, with short answers that are the same every time."""
    with visit(browser, server.url) as opened:
        opened.settings(temperature=0, max_tokens=24)
        opened.page.click("#settings")
        yield opened
