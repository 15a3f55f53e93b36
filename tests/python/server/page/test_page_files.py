"""The page's files as the server hands them out: types, caches, policy, and that nothing is missing or foreign."""

from __future__ import annotations

import gzip
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from skywork_rt.api.params import SamplingParams
from skywork_rt.server.app import create_app
from skywork_rt.server.page.assets import assets
from skywork_rt.server.settings import ServerSettings

TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}


def asking(bundle: Path, **settings: object) -> httpx.AsyncClient:
    app = create_app(ServerSettings(models={"tiny": str(bundle)}, **settings))  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://page")


@pytest.fixture
async def keyed(tiny_bundle: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A server that wants a key."""
    async with asking(tiny_bundle, api_key="secret") as client:
        yield client


def addresses() -> list[str]:
    return ["/" if name == "index.html" else f"/page/{name}" for name in assets()]


async def test_every_file_is_there_without_a_key_and_all_else_wants_one(keyed: httpx.AsyncClient) -> None:
    for address in addresses():
        answer = await keyed.get(address, headers={"accept-encoding": "identity"})
        assert answer.status_code == 200
        kind = TYPES["html" if address == "/" else address.rpartition(".")[2]]
        assert answer.headers["content-type"].split(";")[0] == kind, address
        assert answer.content == assets()[address.removeprefix("/page/") if address != "/" else "index.html"].plain
    assert (await keyed.get("/v1/models")).status_code == 401
    assert (await keyed.get("/sampling_params")).status_code == 401
    assert (await keyed.get("/page/none.js")).status_code == 401


async def test_the_policy_allows_this_server_alone_and_nothing_inline(keyed: httpx.AsyncClient) -> None:
    for address in addresses():
        headers = (await keyed.get(address)).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy.pop("require-trusted-types-for") == "'script'"
        assert policy["default-src"] == "'none'"
        assert set(policy.values()) == {"'none'", "'self'"}
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


async def test_a_browser_asks_again_and_is_told_that_nothing_changed(keyed: httpx.AsyncClient) -> None:
    for address in addresses():
        first = await keyed.get(address, headers={"accept-encoding": "gzip"})
        assert first.headers["content-encoding"] == "gzip"
        assert first.headers["cache-control"] == "no-cache"
        plain = await keyed.get(address, headers={"accept-encoding": "gzip;q=0, br"})
        assert "content-encoding" not in plain.headers
        assert first.content == plain.content  # httpx unpacks
        again = await keyed.get(address, headers={"if-none-match": f'"other", {first.headers["etag"]}'})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["content-security-policy"] == first.headers["content-security-policy"]
        other = await keyed.get(address, headers={"if-none-match": 'W/"other"'})
        assert other.status_code == 200
    whole = [asset for asset in assets().values() if gzip.decompress(asset.packed) == asset.plain]
    assert len(whole) == len(assets())


async def test_only_these_paths_and_methods_are_there(tiny_bundle: Path) -> None:
    async with asking(tiny_bundle) as client:
        for path in ("/page/", "/page/index.html", "/page/../assets.py", "/page/%2e%2e/assets.py", "/page//app.js"):
            assert (await client.get(path)).status_code == 404, path
        assert (await client.post("/")).status_code == 405
        assert (await client.head("/page/app.js")).status_code == 200
        other = await client.get("/", headers={"origin": "https://elsewhere.example"})
        assert other.status_code == 403


async def test_no_page_switches_it_off(tiny_bundle: Path) -> None:
    async with asking(tiny_bundle, page=False) as client:
        assert [(await client.get(path)).status_code for path in ("/", "/page/app.js", "/v1/models")] == [404, 404, 200]


async def test_the_parameters_are_those_of_the_table(tiny_bundle: Path) -> None:
    async with asking(tiny_bundle) as client:
        rows = {row["name"]: row for row in (await client.get("/sampling_params")).json()["data"]}
        card = (await client.get("/v1/models")).json()["data"][0]
    objects = {"grammar"}  # of Python only: a request has response_format
    assert list(rows) == [name for name in SamplingParams.__dataclass_fields__ if name not in objects]
    assert (rows["top_p"]["minimum"], rows["top_p"]["exclusive"], rows["top_p"]["maximum"]) == (0, True, 1)
    assert (rows["temperature"]["minimum"], rows["temperature"]["maximum"]) == (0, None)
    assert rows["stop"]["minimum"] is rows["stop"]["maximum"] is None
    assert all(row["description"] for row in rows.values())
    assert set(card["default_sampling_params"]) <= set(rows)


def test_every_import_leads_to_a_file_and_every_file_is_used() -> None:
    used = {"index.html"}
    for name, asset in assets().items():
        text = asset.plain.decode()
        if name == "index.html":
            used |= set(re.findall(r'(?:src|href)="page/([^"]+)"', text))
        for target in re.findall(r'^import .*? from "([^"]+)";', text, re.MULTILINE | re.DOTALL):
            assert target.startswith("."), f"{name} imports {target}"
            used.add((Path("/") / Path(name).parent / target).resolve().relative_to("/").as_posix())
    assert used == set(assets())


def test_nothing_is_read_as_html_or_code_and_nothing_is_foreign() -> None:
    """What the policy forbids at run time is not there in the first place."""
    for name, asset in assets().items():
        text = asset.plain.decode()
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc", text
        ), name
        foreign = [found for found in re.findall(r"https?://[\w.]+", text) if found != "http://www.w3.org"]
        assert foreign == [], name
    first = assets()["index.html"].plain.decode()
    assert not re.search(r"<style|\son\w+=|\sstyle=|<script>", first)


def test_the_files_are_small_and_readable() -> None:
    """One concept a file; the whole page is less than a picture, before it is compressed."""
    for name, asset in assets().items():
        lines = asset.plain.decode().splitlines()
        assert len(lines) < 500, name
        assert max(map(len, lines)) < 250, name
    assert sum(len(asset.packed) for asset in assets().values()) < 60_000
