"""Edits of ELF64 shared objects in place: library names and symbol binding.

MindSpore Lite 2.0 shares library names and thousands of STB_GNU_UNIQUE symbols with the MindSpore framework, and the
dynamic linker merges both between libraries that were never meant to meet, RTLD_LOCAL or not. Giving Lite's copies
names of their own and making its unique symbols weak keeps the two apart. Nothing moves in the file: a name is
overwritten by one of the same length or less, a binding is one byte, so no other table needs to know.

Layout: System V ABI, "Object Files"; GNU's additions from <elf.h>.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_SECTION_DYNAMIC = 6
_SECTION_DYNSYM = 11
_SECTION_VERNEED = 0x6FFFFFFE
_TAG_NULL, _TAG_NEEDED, _TAG_SONAME = 0, 1, 14
_UNDEFINED = 0
_BIND_WEAK, _BIND_GNU_UNIQUE = 2, 10

_SECTION_HEADER = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_DYNAMIC = struct.Struct("<qQ")
_VERNEED = struct.Struct("<HHIII")
_SYMBOL_INFO_OFFSET = 4


class ElfError(ValueError):
    """The file is no ELF64 shared object of the kind that this module edits, or an edit is not possible."""


@dataclass(frozen=True)
class _Section:
    kind: int
    offset: int
    size: int
    link: int


class ElfImage:
    """A little-endian ELF64 shared object; edits go to the buffer that it was given.

    Raises ElfError for anything that is not such a file or whose tables lie outside of it.
    """

    def __init__(self, data: bytes | bytearray | mmap.mmap, name: str) -> None:
        self._data = memoryview(data)
        self._name = name
        self._sections = self._read_sections()
        self._dynamic = self._only(_SECTION_DYNAMIC, "dynamic section")
        self._strings = self._linked_strings(self._dynamic)

    @classmethod
    def map_file(cls, path: Path, *, writable: bool = False) -> ElfImage:
        """Maps a file: edits of a writable one reach the file. The mapping lives as long as the returned object."""
        access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
        with path.open("r+b" if writable else "rb") as file:
            try:
                return cls(mmap.mmap(file.fileno(), 0, access=access), path.name)
            except ValueError as error:  # an empty file cannot be mapped
                raise error if isinstance(error, ElfError) else ElfError(f"{path.name}: {error}") from error

    @property
    def soname(self) -> str | None:
        """The name that the dynamic linker knows the library by."""
        for tag, offset in self._dynamic_entries():
            if tag == _TAG_SONAME:
                return self._string(offset)
        return None

    @property
    def needed(self) -> list[str]:
        """Names of the libraries that this one asks for, in order."""
        return [self._string(offset) for tag, offset in self._dynamic_entries() if tag == _TAG_NEEDED]

    def rename_libraries(self, names: Mapping[str, str]) -> int:
        """Replaces library names wherever this object states them (its own and those it needs).

        Returns how many strings changed. Raises ElfError when a new name is longer than the old one, or when the
        bytes of the old one also serve as (part of) another string.
        """
        offsets = {offset for offset in self._name_offsets() if self._string(offset) in names}
        for offset in offsets:
            self._check_unshared(offset)
        for offset in offsets:
            self._overwrite_string(offset, names[self._string(offset)])
        return len(offsets)

    def weaken_unique_symbols(self, fragment: str) -> int:
        """Turns STB_GNU_UNIQUE into STB_WEAK for symbols whose mangled name contains `fragment`; returns how many."""
        table = self._only(_SECTION_DYNSYM, "dynamic symbol table")
        strings = self._linked_strings(table)
        wanted = fragment.encode()
        infos = self._slice(table)[_SYMBOL_INFO_OFFSET :: _SYMBOL.size].tobytes()
        changed = 0
        for index, info in enumerate(infos):
            if info >> 4 != _BIND_GNU_UNIQUE:
                continue
            position = table.offset + index * _SYMBOL.size
            name_offset = _SYMBOL.unpack_from(self._data, position)[0]
            if wanted in self._string_bytes(strings, name_offset):
                self._data[position + _SYMBOL_INFO_OFFSET] = _BIND_WEAK << 4 | info & 0xF
                changed += 1
        return changed

    def redirect_import(self, name: str, other: str) -> bool:
        """Makes references to the undefined symbol `name` ones to `other`; False when there is no such reference.

        Raises ElfError when the object does not mention `other` anywhere: its name is not added.
        """
        table = self._only(_SECTION_DYNSYM, "dynamic symbol table")
        strings = self._linked_strings(table)
        changed = False
        for index, entry in enumerate(_SYMBOL.iter_unpack(self._whole_symbols(table))):
            if entry[3] != _UNDEFINED or self._string_bytes(strings, entry[0]) != name.encode():
                continue
            found = self._slice(strings).tobytes().find(b"\0" + other.encode() + b"\0")
            if found < 0:
                raise ElfError(f"{self._name}: there is no {other} to call instead of {name}")
            struct.pack_into("<I", self._data, table.offset + index * _SYMBOL.size, found + 1)
            changed = True
        return changed

    def unique_symbols(self) -> list[str]:
        """Mangled names of the symbols that are STB_GNU_UNIQUE."""
        table = self._only(_SECTION_DYNSYM, "dynamic symbol table")
        strings = self._linked_strings(table)
        return [
            self._string_bytes(strings, name).decode(errors="replace")
            for name, info in self._symbols(table)
            if info >> 4 == _BIND_GNU_UNIQUE
        ]

    def _read_sections(self) -> list[_Section]:
        if len(self._data) < 64 or bytes(self._data[:4]) != b"\x7fELF":
            raise ElfError(f"{self._name}: not an ELF file")
        if self._data[4] != 2 or self._data[5] != 1:
            raise ElfError(f"{self._name}: not a 64-bit little-endian ELF file")
        start = struct.unpack_from("<Q", self._data, 40)[0]
        entry_size, count = struct.unpack_from("<HH", self._data, 58)
        if count == 0 or entry_size != _SECTION_HEADER.size:
            raise ElfError(f"{self._name}: {count} section headers of {entry_size} bytes; need some of 64 bytes")
        if start + count * entry_size > len(self._data):
            raise ElfError(f"{self._name}: section headers end at {start + count * entry_size}, after the file")
        sections = []
        for index in range(count):
            header = _SECTION_HEADER.unpack_from(self._data, start + index * entry_size)
            sections.append(_Section(kind=header[1], offset=header[4], size=header[5], link=header[6]))
        return sections

    def _only(self, kind: int, what: str) -> _Section:
        found = [section for section in self._sections if section.kind == kind]
        if len(found) != 1:
            raise ElfError(f"{self._name}: {len(found)} sections are a {what}; exactly one was expected")
        return self._checked(found[0])

    def _checked(self, section: _Section) -> _Section:
        end = section.offset + section.size
        if end > len(self._data):
            raise ElfError(f"{self._name}: a section ends at byte {end}, the file at {len(self._data)}")
        return section

    def _linked_strings(self, section: _Section) -> _Section:
        if section.link >= len(self._sections):
            raise ElfError(f"{self._name}: a section names string table {section.link} of {len(self._sections)}")
        return self._checked(self._sections[section.link])

    def _slice(self, section: _Section) -> memoryview:
        return self._data[section.offset : section.offset + section.size]

    def _dynamic_entries(self) -> Iterator[tuple[int, int]]:
        view = self._slice(self._dynamic)
        for position in range(0, len(view) - _DYNAMIC.size + 1, _DYNAMIC.size):
            tag, value = _DYNAMIC.unpack_from(view, position)
            if tag == _TAG_NULL:
                return
            yield tag, value

    def _symbols(self, table: _Section) -> Iterator[tuple[int, int]]:
        for name, info, *_ in _SYMBOL.iter_unpack(self._whole_symbols(table)):
            yield name, info

    def _whole_symbols(self, table: _Section) -> memoryview:
        return self._data[table.offset : table.offset + table.size - table.size % _SYMBOL.size]

    def _version_file_offsets(self) -> Iterator[int]:
        """Library names of the symbol version needs: they must stay equal to those of the NEEDED entries."""
        for section in self._sections:
            if section.kind != _SECTION_VERNEED:
                continue
            view = self._slice(self._checked(section))
            position, step = 0, 1
            while step:
                if position + _VERNEED.size > len(view):
                    raise ElfError(f"{self._name}: a version need lies outside of its section")
                _, _, file_offset, _, step = _VERNEED.unpack_from(view, position)
                yield file_offset
                position += step

    def _name_offsets(self) -> Iterator[int]:
        for tag, value in self._dynamic_entries():
            if tag in (_TAG_NEEDED, _TAG_SONAME):
                yield value
        yield from self._version_file_offsets()

    def _string_bytes(self, strings: _Section, offset: int) -> bytes:
        if offset >= strings.size:
            raise ElfError(f"{self._name}: string {offset} lies outside of its table of {strings.size} bytes")
        start, end = strings.offset + offset, strings.offset + strings.size
        for width in (256, end - start):  # most names are short: don't copy the whole table to find one's end
            chunk = self._data[start : min(start + width, end)].tobytes()
            length = chunk.find(b"\0")
            if length >= 0:
                return chunk[:length]
        raise ElfError(f"{self._name}: string {offset} has no end")

    def _string(self, offset: int) -> str:
        return self._string_bytes(self._strings, offset).decode(errors="replace")

    def _check_unshared(self, offset: int) -> None:
        name = self._string(offset)
        if offset > 0 and self._data[self._strings.offset + offset - 1] != 0:
            raise ElfError(f"{self._name}: the name {name} is the end of a longer string and cannot be replaced")
        end = offset + len(name.encode())
        table = self._only(_SECTION_DYNSYM, "dynamic symbol table")
        if any(offset <= symbol < end for symbol, _ in self._symbols(table)):
            raise ElfError(f"{self._name}: a symbol shares the bytes of the name {name}, which cannot be replaced")

    def _overwrite_string(self, offset: int, new: str) -> None:
        old = self._string_bytes(self._strings, offset)
        replacement = new.encode()
        if len(replacement) > len(old):
            raise ElfError(f"{self._name}: {new} is longer than {old.decode()} and does not fit in its place")
        start = self._strings.offset + offset
        self._data[start : start + len(old)] = replacement.ljust(len(old), b"\0")
