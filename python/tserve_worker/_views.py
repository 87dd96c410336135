"""Views of the request arena: tensors where the server wrote them, safe to keep.

The server reuses the place of a request once its batch is answered. So a large tensor is read
through a mapping of its own, private to this process: it shows the arena's pages without a copy
until somebody writes to one. What the handler still holds when its batch is answered is made the
worker's own, page by page, before the answer leaves (``Arena.settle``). The mapping goes with the
last array that looks through it. Small tensors are copied, which takes less time than a mapping.
"""

from __future__ import annotations

import mmap
import os
import sys
import weakref
from typing import TYPE_CHECKING, Any

from tserve_worker._tensors import (
    NUMPY_NAMES,
    Kind,
    numpy_type,
    parse_type,
    split_bytes,
    torch_type,
    widen,
)

if TYPE_CHECKING:
    import numpy

    Loans = list[weakref.ref[mmap.mmap]]

MAPPED_BYTES = 64 << 10
"""Tensors of at least that many bytes are views; copying smaller ones takes less time."""

ALIGNMENT = 64
_PAGE = mmap.ALLOCATIONGRANULARITY
# A mapping needs no descriptor of its own where Python can do without.
_OPTIONS: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}


class Arena:
    """The server's request memory, as this process may read it."""

    def __init__(self, descriptor: int) -> None:
        """Map the arena; the descriptor is taken over."""
        self._descriptor = descriptor
        self._memory = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)

    def __call__(self, content_type: str, offset: int, length: int, loans: Loans) -> Any:
        """Make an array of an input; numpy's.

        Args:
            content_type: as the server wrote it.
            offset: where the tensor begins in the arena, in bytes.
            length: its bytes.
            loans: what the batch has lent, to be added to.

        Returns:
            The array, not writable; BYTES has dtype object.
        """
        import numpy

        datatype, shape, order = parse_type(content_type)
        if datatype == "BYTES":
            elements = split_bytes(self._memory[offset : offset + length])
            array = numpy.empty(len(elements), dtype=object)
            array[:] = elements
        elif length == 0:
            array = numpy.empty(0, dtype=numpy_type(datatype))
            array.flags.writeable = False
        else:
            stored = numpy.dtype(NUMPY_NAMES.get(datatype, "<u2"))
            mapping = self._lend(offset, length, loans, stored.itemsize)
            if mapping is not None:
                count = length // stored.itemsize
                array = numpy.frombuffer(mapping, stored, count, offset % _PAGE)
            else:
                array = self._copy(offset, length).view(stored)
            if datatype == "BF16":
                array = widen(array)
            array.flags.writeable = False
        return array.reshape(shape, order=order)

    def settle(self, loans: Loans) -> None:
        """Make what is still looked at this process's own: writing a page copies it."""
        for loan in loans:
            mapping = loan()
            if mapping is not None:
                mapping[::_PAGE] = mapping[::_PAGE]
        loans.clear()

    def _lend(self, offset: int, length: int, loans: Loans, itemsize: int) -> mmap.mmap | None:
        """Map a tensor that is large and aligned for its elements."""
        if length < MAPPED_BYTES or offset % itemsize:
            return None
        mapping = self._map(offset, length)
        if mapping is not None:
            loans.append(weakref.ref(mapping))
        return mapping

    def _copy(self, offset: int, length: int) -> numpy.ndarray:
        """Return bytes of the arena as the worker's own, aligned like those in the arena."""
        import numpy

        room = numpy.empty(length + ALIGNMENT, numpy.uint8)
        start = -room.__array_interface__["data"][0] % ALIGNMENT
        array = room[start : start + length]
        array[:] = numpy.frombuffer(self._memory, numpy.uint8, length, offset)
        return array

    def _map(self, offset: int, length: int) -> mmap.mmap | None:
        """Map a part of the arena; None where the system has no more mappings or descriptors."""
        before = offset % _PAGE
        try:
            return mmap.mmap(
                self._descriptor,
                before + length,
                access=mmap.ACCESS_COPY,
                offset=offset - before,
                **_OPTIONS,
            )
        except OSError:
            return None


class TorchArena(Arena):
    """The same with tensors of torch, which can be written to: nobody else sees that."""

    def __call__(self, content_type: str, offset: int, length: int, loans: Loans) -> Any:
        """Make a tensor of an input; BYTES stay an array of objects."""
        import torch

        datatype, shape, order = parse_type(content_type)
        dtype = torch_type(datatype)
        if dtype is None:
            return super().__call__(content_type, offset, length, loans)
        if length == 0:
            return torch.empty(shape, dtype=dtype)
        mapping = self._lend(offset, length, loans, dtype.itemsize)
        if mapping is not None:
            count = length // dtype.itemsize
            data = torch.frombuffer(mapping, dtype=dtype, count=count, offset=offset % _PAGE)
        else:
            copy = bytearray(self._memory[offset : offset + length])
            data = torch.frombuffer(copy, dtype=dtype)
        if order == "F":
            return data.reshape(shape[::-1]).permute(*reversed(range(len(shape))))
        return data.reshape(shape)


def open_arena(kind: Kind, descriptor: int) -> Arena:
    """Map the arena for a handler; the descriptor is taken over."""
    try:
        return (TorchArena if kind == "torch" else Arena)(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
