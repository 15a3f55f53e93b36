"""One file of weights for several of Lite's graphs.

The full and the incremental graph of a model have the same weights, and Lite's converter, given the same parameters,
writes the same bytes for them into both files (measured: all of them). In Lite's format a tensor may have its data in
another file instead, which the converter uses beyond 2 GiB only. `share_weights` moves every large tensor of the graphs
there, each content once: the bundle is half as large.

A graph is a FlatBuffer of MindSpore Lite's schema, MetaGraph. What is here of it: the fields that are moved or that
point across what is moved. Everything else, the nodes above all, stays as the converter wrote it.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from skywork_rt.errors import BackendError

__all__ = ["share_weights"]

_IDENTIFIER = b"MSL2"
_LEAST_BYTES = 4096  # smaller tensors stay: shapes and other constants that Lite looks at when it infers shapes
_ALIGNMENT = 64

# Numbers of the fields that are offsets, by table.
_META_GRAPH = {
    "name": 0,
    "version": 1,
    "inputs": 3,
    "outputs": 4,
    "nodes": 6,
    "tensors": 7,
    "subgraphs": 8,
    "secret": 10,
}
_SUBGRAPH = {"name": 0, "inputs": 1, "outputs": 2, "nodes": 3, "tensors": 4}
_TENSOR = {"dims": 2, "data": 6, "quantisation": 7, "clusters": 8, "name": 9, "external": 12}
_EXTERNAL = {"checksum": 0, "location": 1}
_EXTERNAL_OFFSET, _EXTERNAL_LENGTH = 2, 3


def share_weights(graphs: Sequence[Path], weights: Path) -> None:
    """Moves the large tensors of `graphs` into `weights`, a file in their folder, each content once.

    Raises BackendError for a file that is no graph of Lite's or is laid out otherwise than its converter does it.
    """
    with weights.open("wb") as out:
        shelf = _Shelf(out)
        for path in graphs:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                small = _Graph(data, path).without_weights(shelf, weights.name)
            path.write_bytes(small)
    for path in graphs:
        path.with_suffix(".msw").unlink(missing_ok=True)


class _Shelf:
    """The file of weights: where each content lies in it."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._places: dict[bytes, int] = {}

    def put(self, content: memoryview) -> int:
        """The offset of this content, which is written when it is new."""
        digest = hashlib.sha256(content).digest()
        if digest not in self._places:
            self._out.write(bytes(-self._out.tell() % _ALIGNMENT))
            self._places[digest] = self._out.tell()
            self._out.write(content)
        return self._places[digest]


@dataclass
class _Moved:
    """A tensor whose data goes: its table, the vector of the data (or the table that names another file), the place."""

    table: int
    offset: int
    length: int
    external: int | None


@dataclass
class _Pointers:
    """Places of offsets in the file with what they point at: `forward` to vectors and tables, `vtables` from tables."""

    forward: dict[int, int] = field(default_factory=dict)
    vtables: dict[int, int] = field(default_factory=dict)


class _Graph:
    """A FlatBuffer of the schema MetaGraph."""

    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self._data = data
        self._path = path
        if data[4:8] != _IDENTIFIER:
            raise BackendError(f"{path.name} is no graph of MindSpore Lite's")

    def without_weights(self, shelf: _Shelf, weights: str) -> bytes:
        """The file with the data of its large tensors in the file `weights`."""
        pointers, moved, removed = _Pointers(), list[_Moved](), list[tuple[int, int]]()
        self._collect(pointers)
        with memoryview(self._data) as whole:
            for table in self._elements(self._root(), _META_GRAPH["tensors"]):
                self._move(table, whole, shelf, moved, removed)
        self._check_nodes(removed)
        rebuilt = _Rebuilt(self._data, removed)
        for place, target in pointers.forward.items():
            rebuilt.point(place, target)
        for place, target in pointers.vtables.items():
            rebuilt.point_back(place, target)
        for tensor in moved:
            self._name_file(rebuilt, tensor, weights)
        return bytes(rebuilt.out)

    def _move(
        self, table: int, whole: memoryview, shelf: _Shelf, moved: list[_Moved], removed: list[tuple[int, int]]
    ) -> None:
        """Puts a large tensor's data on the shelf."""
        place = self._field(table, _TENSOR["data"])
        if place is not None:
            vector = self._follow(place)
            length = self._number("<I", vector)
            if length >= _LEAST_BYTES:
                begin = vector + 4
                moved.append(_Moved(table, shelf.put(whole[begin : begin + length]), length, None))
                # Eights of bytes, so that what follows stays aligned; a few bytes are left.
                removed.append((vector, vector + (4 + length) // 8 * 8))
            return
        for external in self._elements(table, _TENSOR["external"]):
            offset = self._number("<q", self._required(external, _EXTERNAL_OFFSET))
            length = self._number("<q", self._required(external, _EXTERNAL_LENGTH))
            location = self._text(self._required(external, _EXTERNAL["location"]))
            with (self._path.parent / Path(location).name).open("rb") as file:
                file.seek(offset)
                content = file.read(length)
            if len(content) != length:
                raise BackendError(f"{location} ends within a tensor of {self._path.name}")
            moved.append(_Moved(table, shelf.put(memoryview(content)), length, external))

    def _name_file(self, rebuilt: _Rebuilt, tensor: _Moved, weights: str) -> None:
        """Tells a tensor where its data is, in a table of its own or in the one that it has."""
        if tensor.external is not None:
            rebuilt.set("<q", self._required(tensor.external, _EXTERNAL_OFFSET), tensor.offset)
            rebuilt.point_to_new(self._required(tensor.external, _EXTERNAL["location"]), rebuilt.add_text(weights))
            return
        slots = self._slots(tensor.table)
        slots += [0] * (_TENSOR["external"] + 1 - len(slots))
        # The slot of the data's offset becomes that of the other's.
        slots[_TENSOR["external"]], slots[_TENSOR["data"]] = slots[_TENSOR["data"]], 0
        size = self._number("<H", tensor.table - self._number("<i", tensor.table) + 2)
        rebuilt.replace_vtable(tensor.table, rebuilt.add_vtable(size, slots))
        place = tensor.table + slots[_TENSOR["external"]]
        rebuilt.point_to_new(place, rebuilt.add_external(weights, tensor.offset, tensor.length))

    def _collect(self, pointers: _Pointers) -> None:
        """Every offset of the tables that are known here."""
        root = self._root()
        pointers.forward[0] = root
        self._collect_table(root, _META_GRAPH.values(), pointers)
        for place, table in self._element_places(root, _META_GRAPH["subgraphs"]):
            pointers.forward[place] = table
            self._collect_table(table, _SUBGRAPH.values(), pointers)
        for place, _ in self._element_places(root, _META_GRAPH["nodes"]):
            pointers.forward[place] = self._follow(place)
        for place, table in self._element_places(root, _META_GRAPH["tensors"]):
            pointers.forward[place] = table
            self._collect_table(table, _TENSOR.values(), pointers)
            for inner, element in self._element_places(table, _TENSOR["quantisation"]):
                pointers.forward[inner] = element
                self._collect_table(element, (), pointers)
            for inner, element in self._element_places(table, _TENSOR["external"]):
                pointers.forward[inner] = element
                self._collect_table(element, _EXTERNAL.values(), pointers)

    def _collect_table(self, table: int, fields: Iterable[int], pointers: _Pointers) -> None:
        pointers.vtables[table] = table - self._number("<i", table)
        for number in fields:
            place = self._field(table, number)
            if place is not None:
                pointers.forward[place] = self._follow(place)

    def _check_nodes(self, removed: Sequence[tuple[int, int]]) -> None:
        """Nodes have offsets that are not known here: none may point across what is removed."""
        nodes = self._required(self._root(), _META_GRAPH["nodes"])
        if removed and max(end for _, end in removed) > self._follow(nodes):
            raise BackendError(f"{self._path.name} has its weights among its nodes, where Lite's converter puts none")

    def _root(self) -> int:
        return self._follow(0)

    def _number(self, form: str, place: int) -> int:
        (value,) = struct.unpack_from(form, self._data, place)
        return int(value)

    def _follow(self, place: int) -> int:
        return place + self._number("<I", place)

    def _slots(self, table: int) -> list[int]:
        """Where the table's fields lie in it, by number; 0: nowhere."""
        vtable = table - self._number("<i", table)
        count = (self._number("<H", vtable) - 4) // 2
        return list(struct.unpack_from(f"<{count}H", self._data, vtable + 4))

    def _field(self, table: int, number: int) -> int | None:
        slots = self._slots(table)
        return table + slots[number] if number < len(slots) and slots[number] else None

    def _required(self, table: int, number: int) -> int:
        place = self._field(table, number)
        if place is None:
            raise BackendError(f"{self._path.name} lacks field {number} of a table that Lite's converter writes")
        return place

    def _element_places(self, table: int, number: int) -> Iterator[tuple[int, int]]:
        """Place of the offset and the table of each element of a vector of tables."""
        place = self._field(table, number)
        if place is None:
            return
        vector = self._follow(place)
        for index in range(self._number("<I", vector)):
            element = vector + 4 + 4 * index
            yield element, self._follow(element)

    def _elements(self, table: int, number: int) -> Iterator[int]:
        return (element for _, element in self._element_places(table, number))

    def _text(self, place: int) -> str:
        begin = self._follow(place) + 4
        return self._data[begin : begin + self._number("<I", begin - 4)].decode("utf-8")


class _Rebuilt:
    """A file with parts cut out, its offsets set anew, and more behind it."""

    def __init__(self, data: mmap.mmap, removed: Sequence[tuple[int, int]]) -> None:
        cuts = sorted(removed)
        self._begins = [begin for begin, _ in cuts]
        self._cut_before = [0]
        self.out = bytearray()
        position = 0
        for begin, end in cuts:
            self.out += data[position:begin]
            position = end
            self._cut_before.append(self._cut_before[-1] + end - begin)
        self.out += data[position:]

    def _now(self, place: int) -> int:
        """Where what lay at `place` lies now."""
        return place - self._cut_before[bisect_right(self._begins, place - 1)]

    def set(self, form: str, place: int, value: int) -> None:
        struct.pack_into(form, self.out, self._now(place), value)

    def point(self, place: int, target: int) -> None:
        self.set("<I", place, self._now(target) - self._now(place))

    def point_back(self, table: int, vtable: int) -> None:
        self.set("<i", table, self._now(table) - self._now(vtable))

    def point_to_new(self, place: int, target: int) -> None:
        self.set("<I", place, target - self._now(place))

    def replace_vtable(self, table: int, vtable: int) -> None:
        self.set("<i", table, self._now(table) - vtable)

    def add_vtable(self, size: int, slots: Sequence[int]) -> int:
        return self._add(struct.pack(f"<HH{len(slots)}H", 4 + 2 * len(slots), size, *slots))

    def add_text(self, text: str) -> int:
        encoded = text.encode("utf-8")
        return self._add(struct.pack("<I", len(encoded)) + encoded + b"\0")

    def add_external(self, location: str, offset: int, length: int) -> int:
        """A vector of one table ExternalData: checksum and location (texts), offset and length (int64)."""
        vtable = self.add_vtable(32, (4, 8, 16, 24))
        vector = self._add(struct.pack("<II", 1, 8))
        table = self._add(struct.pack("<iIIIqq", 0, 0, 0, 0, offset, length))
        struct.pack_into("<I", self.out, vector + 4, table - (vector + 4))
        struct.pack_into("<i", self.out, table, table - vtable)
        for slot, text in ((4, ""), (8, location)):
            struct.pack_into("<I", self.out, table + slot, self.add_text(text) - (table + slot))
        return vector

    def _add(self, content: bytes) -> int:
        """Appends at a multiple of 8; where it lies."""
        self.out += bytes(-len(self.out) % 8)
        place = len(self.out)
        self.out += content
        return place
