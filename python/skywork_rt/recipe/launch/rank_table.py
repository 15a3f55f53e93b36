"""Rank tables: which device of which server is which rank, in the form (version 1.0) that HCCL reads.

    {"version": "1.0", "server_count": "1", "status": "completed", "server_list": [{"server_id": …, "host_nic_ip":
     "reserve", "device": [{"device_id": "0", "device_ip": "192.168.100.101", "rank_id": "0"}, …]}]}

The recipe writes them with hccl_tools.py from /etc/hccn.conf; ModelArts puts one of another form into its containers.
"""

from __future__ import annotations

import ipaddress
import json
import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skywork_rt.errors import InvalidArgumentError

__all__ = [
    "HCCN_CONF",
    "RankTable",
    "Server",
    "check_address",
    "device_addresses",
    "make_table",
    "merge_tables",
    "read_table",
]

HCCN_CONF = Path("/etc/hccn.conf")
"""Where the driver keeps the devices' addresses, a line `address_0=192.168.100.101` each."""

_ADDRESS = re.compile(r"\s*address_(\d+)\s*=\s*(\S+)\s*")
_LARGEST = 64 << 20


@dataclass(frozen=True)
class Server:
    """A server, and its devices in the order of their ranks: device id and address, None where none is known."""

    server_id: str
    devices: tuple[tuple[int, str | None], ...]


@dataclass(frozen=True)
class RankTable:
    """All servers, in the order of their ranks."""

    servers: tuple[Server, ...]

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for server in self.servers:
            ids = [device for device, _ in server.devices]
            if server.server_id in seen or len(set(ids)) != len(ids) or not ids:
                raise InvalidArgumentError(
                    f"a rank table names the server {server.server_id} or one of its devices twice, or no device of it"
                )
            seen.add(server.server_id)
        if not self.servers:
            raise InvalidArgumentError("a rank table has no server")

    @property
    def size(self) -> int:
        """Ranks."""
        return sum(len(server.devices) for server in self.servers)

    def to_json(self) -> str:
        """As hccl_tools.py writes it: numbers are texts, four spaces."""
        rank = 0
        servers = []
        for server in self.servers:
            devices = []
            for device, address in server.devices:
                entry = {"device_id": str(device), "rank_id": str(rank)}
                if address is not None:
                    entry = {"device_id": str(device), "device_ip": address, "rank_id": str(rank)}
                devices.append(entry)
                rank += 1
            servers.append({"server_id": server.server_id, "device": devices, "host_nic_ip": "reserve"})
        table = {"version": "1.0", "server_count": str(len(servers)), "server_list": servers, "status": "completed"}
        return json.dumps(table, indent=4)

    def file_name(self) -> str:
        """hccl_8p_01234567_10.0.0.1.json, as hccl_tools.py calls it."""
        ids = "".join(str(device) for device, _ in self.servers[0].devices)
        if len(self.servers) > 1:
            return f"hccl_{len(self.servers)}s_{self.size}p.json"
        return f"hccl_{self.size}p_{ids}_{self.servers[0].server_id}.json"


def device_addresses(path: Path = HCCN_CONF) -> dict[int, str]:
    """Device to address; empty where there is no such file. Raises InvalidArgumentError for a wrong address."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgumentError(f"{path} cannot be read: {error}") from error
    found: dict[int, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = _ADDRESS.fullmatch(line)
        if match:
            found[int(match[1])] = check_address(match[2], f"{path}, line {number}")
    return found


def check_address(text: str, where: str) -> str:
    """The address as it is usually written. Raises InvalidArgumentError, beginning with `where`."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise InvalidArgumentError(f"{where}: {text!r} is no IP address") from error


def make_table(devices: Iterable[int], server_id: str | None, hccn: Path | None = None) -> RankTable:
    """A table of this server alone. Without a file of addresses the devices have none, which MindSpore's own start of
    processes (msrun) does not need. Raises InvalidArgumentError when the file lacks one of the devices."""
    chosen = list(devices)
    if hccn is not None and not hccn.is_file():
        raise InvalidArgumentError(
            f"{hccn} does not exist; it is the file that the Ascend driver writes as {HCCN_CONF}"
        )
    source = hccn or HCCN_CONF
    addresses = device_addresses(source)
    missing = [device for device in chosen if device not in addresses]
    if addresses and missing:
        raise InvalidArgumentError(
            f"{source} has no address of device {missing[0]}; it has those of {', '.join(map(str, sorted(addresses)))}"
        )
    return RankTable((Server(server_id or own_address(), tuple((device, addresses.get(device)) for device in chosen)),))


def own_address() -> str:
    """The address by which other servers reach this one: that of the route outwards, else of the host's name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # a documentation address; nothing is sent
            return str(probe.getsockname()[0])
        except OSError:
            pass
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return "127.0.0.1"


def read_table(path: Path) -> RankTable:
    """A table of version 1.0, or the one that ModelArts writes. Raises InvalidArgumentError that names the file."""
    try:
        if path.stat().st_size > _LARGEST:
            raise InvalidArgumentError(f"{path} has {path.stat().st_size} bytes; no rank table is that long")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidArgumentError(f"the rank table {path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"the rank table {path} is no JSON: {error}") from error
    try:
        if not isinstance(content, dict):
            raise ValueError("it is no object")
        if "group_list" in content:
            return _of_model_arts(content)
        return _of_version_1(content)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, InvalidArgumentError):
            raise InvalidArgumentError(f"{path}: {error}") from error
        what = f"the field {error} is missing" if isinstance(error, KeyError) else str(error)
        raise InvalidArgumentError(
            f"{path} is no rank table: {what}; it is either version 1.0 with server_list, or ModelArts' with group_list"
        ) from error


def _of_version_1(content: Mapping[str, Any]) -> RankTable:
    _require_completed(content)
    servers = []
    ranks: list[int] = []
    for server in content["server_list"]:
        devices = sorted(server["device"], key=lambda device: int(device["rank_id"]))
        ranks += [int(device["rank_id"]) for device in devices]
        servers.append(_server(str(server["server_id"]), devices))
    if ranks != list(range(len(ranks))):
        raise ValueError(f"its rank_id are {ranks[:20]}; they must count from 0, server after server")
    return RankTable(tuple(servers))


def _of_model_arts(content: Mapping[str, Any]) -> RankTable:
    """group_list holds groups of instances; ranks are counted in the order of the file."""
    _require_completed(content)
    instances = [instance for group in content["group_list"] for instance in group["instance_list"]]
    return RankTable(tuple(_server(str(one["server_id"]), one["devices"]) for one in instances))


def _require_completed(content: Mapping[str, Any]) -> None:
    status = content.get("status", "completed")
    if status != "completed":
        raise ValueError(f"its status is {status!r}: not all servers are known yet; wait until it is 'completed'")


def _server(server_id: str, devices: Sequence[Mapping[str, Any]]) -> Server:
    pairs = []
    for device in devices:
        address = device.get("device_ip")
        pairs.append(
            (int(device["device_id"]), check_address(address, f"device {device['device_id']}") if address else None)
        )
    return Server(server_id, tuple(pairs))


def merge_tables(tables: Sequence[RankTable]) -> RankTable:
    """One table of several servers' tables, ranks counted on in the order given, as the recipe's merge_hccl.py."""
    return RankTable(tuple(server for table in tables for server in table.servers))
