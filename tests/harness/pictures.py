"""Pictures and sounds made without any package: PNG and WAV files as bytes."""

from __future__ import annotations

import io
import math
import struct
import wave
import zlib
from collections.abc import Callable

Pixel = tuple[int, int, int]


def png(width: int, height: int, pixel: Callable[[int, int], Pixel]) -> bytes:
    """An RGB picture; `pixel(x, y)` gives the colours, 0 to 255."""
    rows = b"".join(
        b"\0" + bytes(value for x in range(width) for value in pixel(x, y)) for y in range(height)
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


def plain(colour: Pixel, width: int = 64, height: int = 64) -> bytes:
    """A picture of one colour."""
    return png(width, height, lambda x, y: colour)


def gradient(width: int = 64, height: int = 64) -> bytes:
    """A picture with more red to the right and more green to the bottom."""
    return png(width, height, lambda x, y: (255 * x // width, 255 * y // height, 100))


def square(left: int, top: int, size: int, side: int = 48) -> bytes:
    """A white square on black."""

    def pixel(x: int, y: int) -> Pixel:
        inside = left <= x < left + size and top <= y < top + size
        return (255, 255, 255) if inside else (0, 0, 0)

    return png(side, side, pixel)


def tone(frequency: float, seconds: float = 0.25, rate: int = 8000) -> bytes:
    """A WAV file of one sine, 16 bits, mono."""
    count = int(seconds * rate)
    samples = [int(20000 * math.sin(2 * math.pi * frequency * at / rate)) for at in range(count)]
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(struct.pack(f"<{count}h", *samples))
    return buffer.getvalue()
