"""The curl lines of docs/server.md work as they are printed."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import Serving, serving

PAGE = (Path(__file__).parents[3] / "docs" / "server.md").read_text(encoding="utf-8")
LINES = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def server(smollm2_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("docs"), f"small={smollm2_bundle}") as opened:
        yield opened


@pytest.mark.slow
@pytest.mark.parametrize("line", LINES, ids=[" ".join(line.split())[:60] for line in LINES])
def test_a_line_of_the_page_works(server: Serving, line: str) -> None:
    done = subprocess.run(
        ["bash", "-c", line.replace("http://localhost:8000", server.url).replace("localhost:8000", server.url)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    if "-sN" in line:
        assert done.stdout.endswith("data: [DONE]\n\n")
    elif "/metrics" in line:
        assert "skywork_rt_num_requests_running" in done.stdout
    elif '"temperature": -1' in line:
        assert json.loads(done.stdout)["error"]["param"] == "temperature"
    else:
        assert "error" not in json.loads(done.stdout)
        assert "Paris" in done.stdout or "France" not in line or "chat" in line


def test_the_page_has_enough_lines() -> None:
    assert len(LINES) >= 7


@pytest.mark.slow
def test_the_page_names_every_metric(server: Serving) -> None:
    names = {key.split("{")[0] for key in server.metrics()}
    bare = {re.sub(r"_(bucket|sum|count)$", "", name) for name in names if not name.endswith("_created")}
    assert not [name for name in bare if f"`{name}`" not in PAGE]
