"""Rank tables and ranges of devices, as the recipe's tools take and write them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from skywork_rt.cli.app import run
from skywork_rt.errors import InvalidArgumentError
from skywork_rt.recipe.launch.devices import device_range, launch_devices
from skywork_rt.recipe.launch.rank_table import make_table, merge_tables, read_table

HCCN = "address_0=192.168.100.101\nnetmask_0=255.255.255.0\naddress_1=192.168.101.101\naddress_2=192.168.102.101\n"
MODEL_ARTS = {
    "status": "completed",
    "group_count": "1",
    "group_list": [
        {
            "group_name": "job",
            "device_count": "4",
            "instance_count": "2",
            "instance_list": [
                {
                    "pod_name": f"job-{pod}",
                    "server_id": f"10.0.0.{pod + 1}",
                    "devices": [{"device_id": str(d), "device_ip": f"192.168.{pod}.{d + 1}"} for d in range(2)],
                }
                for pod in range(2)
            ],
        }
    ],
}


@pytest.fixture
def hccn(tmp_path: Path) -> Path:
    path = tmp_path / "hccn.conf"
    path.write_text(HCCN)
    return path


def test_a_table_of_this_server_has_the_form_of_hccl_tools(tmp_path: Path, hccn: Path) -> None:
    out = tmp_path / "table.json"
    assert run(["rank-table", "[1,3)", "--server-ip", "10.1.2.3", "--hccn-conf", str(hccn), "--out", str(out)]) == 0
    assert json.loads(out.read_text()) == {
        "version": "1.0",
        "server_count": "1",
        "server_list": [
            {
                "server_id": "10.1.2.3",
                "device": [
                    {"device_id": "1", "device_ip": "192.168.101.101", "rank_id": "0"},
                    {"device_id": "2", "device_ip": "192.168.102.101", "rank_id": "1"},
                ],
                "host_nic_ip": "reserve",
            }
        ],
        "status": "completed",
    }
    assert run(["rank-table", "[1,3)", "--out", str(out)]) == 2  # exists


def test_without_addresses_a_table_has_devices_and_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("skywork_rt.recipe.launch.rank_table.HCCN_CONF", tmp_path / "none")
    assert run(["rank-table", "[0,8)", "--server_ip", "10.1.2.3"]) == 0
    table = read_table(tmp_path / "hccl_8p_01234567_10.1.2.3.json")
    assert table.servers[0].devices == tuple((device, None) for device in range(8))


def test_the_table_of_modelarts_is_read_and_tables_become_one(tmp_path: Path, hccn: Path) -> None:
    theirs = tmp_path / "jobstart_hccl.json"
    theirs.write_text(json.dumps(MODEL_ARTS))
    table = read_table(theirs)
    assert (table.size, [server.server_id for server in table.servers]) == (4, ["10.0.0.1", "10.0.0.2"])
    out = tmp_path / "all.json"
    ours = tmp_path / "ours.json"
    ours.write_text(make_table(range(2), "10.0.0.3", hccn).to_json())
    assert run(["rank-table", str(theirs), str(ours), "--out", str(out)]) == 0
    servers = json.loads(out.read_text())["server_list"]
    ranks = [device["rank_id"] for server in servers for device in server["device"]]
    assert ranks == [str(rank) for rank in range(6)]
    assert read_table(out) == merge_tables([table, read_table(ours)])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", "no object"),
        ("{}", "server_list"),
        ("{", "no JSON"),
        ('{"status": "initializing", "group_list": []}', "wait until it is 'completed'"),
        ('{"server_list": []}', "no server"),
        ('{"server_list": [{"server_id": "a", "device": [{"device_id": "0", "rank_id": "1"}]}]}', "count from 0"),
        ('{"server_list": [{"server_id": "a", "device": [{"device_id": "x", "rank_id": "0"}]}]}', "invalid literal"),
        (
            '{"server_list": [{"server_id": "a", "device": [{"device_id": "0", "rank_id": "0", "device_ip": "y"}]}]}',
            "'y' is no IP address",
        ),
    ],
)
def test_files_that_are_no_rank_table_are_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "table.json"
    path.write_text(content)
    with pytest.raises(InvalidArgumentError, match=said):
        read_table(path)


def test_a_device_without_an_address_and_a_wrong_address_are_refused(tmp_path: Path, hccn: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="no address of device 3"):
        make_table(range(4), None, hccn)
    hccn.write_text("address_0=somewhere\n")
    with pytest.raises(InvalidArgumentError, match="line 1: 'somewhere'"):
        make_table(range(1), None, hccn)
    with pytest.raises(InvalidArgumentError, match="does not exist"):
        make_table(range(1), None, tmp_path / "none")


def test_ranges_are_read_as_the_recipes_scripts_read_them() -> None:
    assert device_range("[0,8)") == range(8)
    assert device_range("[4,7]") == range(4, 8)
    assert launch_devices("[0,8]", 8) == range(8)
    assert launch_devices("[0,7]", 8) == range(8)
    assert launch_devices("[2, 4)", 2) == range(2, 4)
    for wrong in ("0-8", "[0,8", "[8,0)", "[3,3)", "(0,8)", "[0,9999)"):
        with pytest.raises(InvalidArgumentError):
            device_range(wrong)
    with pytest.raises(InvalidArgumentError, match="DEVICE_NUM"):
        launch_devices("[0,8)", 4)


def test_what_cannot_be_written_and_what_is_no_address_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["rank-table", "[0,2)", "--server-ip", "foo", "--out", str(tmp_path / "x.json")]) == 2
    assert "--server-ip: 'foo' is no IP address" in capsys.readouterr().err
    assert run(["rank-table", "[0,2)", "--server-ip", "10.0.0.1", "--out", str(tmp_path / "no" / "x.json")]) == 2
    assert f"there is no folder {tmp_path / 'no'}" in capsys.readouterr().err
    assert run(["rank-table", "[0,2)", "--out", str(tmp_path), "--overwrite"]) == 2
    assert "it is a folder" in capsys.readouterr().err
    assert not list(tmp_path.parent.glob(f".{tmp_path.name}*"))
