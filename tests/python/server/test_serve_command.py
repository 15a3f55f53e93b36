"""`skywork-rt serve`: its options, its config file, and what it says when it cannot begin."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from serving import serving

from skywork_rt import InvalidArgumentError
from skywork_rt.cli.app import run
from skywork_rt.cli.serve import named_bundles
from skywork_rt.server.config import read_config
from skywork_rt.server.settings import ServerSettings


def test_bundles_are_named_by_their_folders_or_by_the_user() -> None:
    assert named_bundles(["/x/small", "big=/y/b=c"]) == {"small": "/x/small", "big": "/y/b=c"}
    for wrong in (["a=x", "a=y"], ["=x"], ["a="]):
        with pytest.raises(InvalidArgumentError):
            named_bundles(wrong)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", 70000), ("port", "80"), ("port", True), ("max_requests", 0), ("max_requests", 1.5),
        ("request_seconds", -1), ("request_seconds", float("nan")), ("header_seconds", 61), ("lenient", "yes"),
        ("api_key", 5), ("api_key", ["a", 5]), ("host", None),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{name} is "):
        ServerSettings(**{name: value})  # type: ignore[arg-type]


def test_settings_that_nobody_knows_are_refused_with_the_nearest() -> None:
    with pytest.raises(InvalidArgumentError, match="did you mean 'port'"):
        ServerSettings(prot=1)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("- a\n", "holds no options"), ("port: [\n", "cannot be read"), ("prot: 1\n", "did you mean 'port'"),
        ("models: [a]\n", "names and bundles"), ("port: 1\nport: 2\n", "there twice"),
        ("max-samples: 1\nmax_samples: 2\n", "max_samples twice"),
        ("!!python/object/apply:os.system ['true']\n", "cannot be read"),
    ],
)  # fmt: skip
def test_a_wrong_config_file_says_what_is_wrong(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(InvalidArgumentError, match=reason):
        read_config(tmp_path / "config.yaml")


def test_a_config_file_may_hold_the_options_of_ray(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_text("models: {m: bundle}\nreplicas: 2\n")
    assert read_config(tmp_path / "config.yaml")["replicas"] == 2
    assert run(["serve", "--config", str(tmp_path / "config.yaml")]) == 2
    assert "replicas: these options need --ray" in capsys.readouterr().err


def test_a_folder_may_have_an_equals_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lr=0.1" / "below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "lr=0.1" / "below")
    assert named_bundles([str(tmp_path / "lr=0.1")]) == {"lr=0.1": str(tmp_path / "lr=0.1")}
    assert named_bundles([".."]) == {"lr=0.1": ".."}
    assert named_bundles([f"m={tmp_path}/lr=0.1"]) == {"m": f"{tmp_path}/lr=0.1"}


@pytest.mark.slow
def test_a_config_file_has_the_same_options_and_the_command_line_counts_first(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "bundle").symlink_to(tiny_bundle)
    (tmp_path / "config.yaml").write_text(
        "models:\n  small: bundle\nmax-samples: 3\nmax_prompt_tokens: 5\nmax_length: 64\napi_key: [one, two]\n"
        "api_key_file: keys\n"
    )
    (tmp_path / "keys").write_text("three\n")  # beside the config file
    with (
        serving(tmp_path, "--config", str(tmp_path / "config.yaml"), "--max-samples", "4") as server,
        httpx.Client(base_url=server.url, headers={"authorization": "Bearer three"}) as client,
    ):
        (card,) = client.get("/v1/models").json()["data"]
        assert (card["id"], card["max_model_len"]) == ("small", 64)
        asked = {"prompt": [1, 2, 3], "max_tokens": 1}
        assert client.post("/v1/completions", json={**asked, "n": 4}).status_code == 200
        assert client.post("/v1/completions", json={**asked, "n": 5}).status_code == 400
        assert client.post("/v1/completions", json={**asked, "prompt": [1] * 6}).status_code == 400


@pytest.mark.slow
def test_what_keeps_it_from_beginning_is_told(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wide.yaml").write_text("max_batch: many\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for arguments, reason in (
            ([], "no model is given"),
            ([str(tmp_path)], "has no model.json"),
            ([str(tiny_bundle), "--port", port], "cannot listen on"),
            ([str(tiny_bundle), "--port", "0", "--max-model-memory", "10"], "raise it"),
            ([str(tiny_bundle), "--api-key-file", str(tmp_path / "none")], "cannot be read"),
            ([str(tiny_bundle), "--port", "70000"], "port is 70000"),
            (["--config", str(tmp_path / "wide.yaml"), str(tiny_bundle)], "max_batch is 'many' (str)"),
        ):
            assert run(["serve", *arguments]) in (1, 2)
            assert reason in capsys.readouterr().err


@pytest.mark.slow
def test_a_model_that_does_not_open_ends_it_with_the_reason(tiny_bundle: Path) -> None:
    command = [sys.executable, "-m", "skywork_rt", "serve", str(tiny_bundle), "--port", "0", "--weights", "int3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (1, 2)
    assert "int3" in done.stderr.splitlines()[-1] or "int3" in done.stderr.splitlines()[-2]
    assert "Traceback" not in done.stderr
