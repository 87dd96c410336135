"""Draws a program's terminal output as a PNG, for the README.

    make demo ONCE=1 | tee out.txt; python tools/terminal_picture.py out.txt picture.png

Understands bold and the eight colours. What comes before and after the demo's own output is left
out, and of the pictures only the first two are shown.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

FONTS = [
    "/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf",
    "/usr/share/fonts/TTF/DejaVuSansMono.ttf",
    "DejaVuSansMono.ttf",
]
SIZE, LINE, MARGIN, WIDTH = 15, 20, 18, 112
BACKGROUND, TEXT, BOLD = (24, 26, 31), (208, 211, 217), (255, 255, 255)
COLOURS = {31: (240, 113, 120), 32: (152, 195, 121), 36: (86, 182, 194)}
FIRST, LAST = "Training a digit classifier", "Everything was answered right."
ESCAPE = re.compile(r"\x1b\[([\d;]*)m")
PICTURE_LINES = 9  # a command and eight rows of pixels
SHOWN_PICTURES = 2


def font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """A monospaced font of the system, else Pillow's own."""
    for name in FONTS:
        try:
            return ImageFont.truetype(name, SIZE)
        except OSError:
            continue
    return ImageFont.load_default(SIZE)


def chosen(text: str) -> list[str]:
    """The lines worth showing."""
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if FIRST in line)
    shown: list[str] = []
    pictures = 0
    skip = 0
    end = next(number for number, line in enumerate(lines) if line.startswith(LAST))
    for line in lines[start : end + 1]:
        if ESCAPE.sub("", line).startswith("$ curl"):
            pictures += 1
            if pictures > SHOWN_PICTURES:
                skip = PICTURE_LINES
            if pictures == SHOWN_PICTURES + 1:
                shown.append("    ...")
        if skip:
            skip -= 1
        else:
            shown.append(line)
    return [part for line in shown for part in wrapped(line)]


def wrapped(line: str) -> list[str]:
    """Cuts a long line at a blank, as a shell would allow it to be typed."""
    parts = []
    while len(ESCAPE.sub("", line)) > WIDTH:
        cut = line.rfind(" ", 0, WIDTH)
        parts.append(line[:cut] + " \\")
        style = ESCAPE.findall(line[:cut])
        line = (f"\x1b[{style[-1]}m" if style and style[-1] not in ("", "0") else "") + (
            "    " + line[cut + 1 :]
        )
    return [*parts, line]


def draw(lines: list[str], target: Path) -> None:
    """Writes the picture."""
    face = font()
    advance = face.getlength("m")
    size = (int(advance * (WIDTH + 2)) + 2 * MARGIN, LINE * len(lines) + 2 * MARGIN)
    picture = Image.new("RGB", size, BACKGROUND)
    pen = ImageDraw.Draw(picture)
    for row, line in enumerate(lines):
        x, colour, end = float(MARGIN), TEXT, 0
        for code in [*ESCAPE.finditer(line), None]:
            piece = line[end : code.start() if code else None]
            pen.text((x, MARGIN + row * LINE), piece, font=face, fill=colour)
            x += advance * len(piece)
            if code:
                end = code.end()
                number = int(code[1] or 0)
                colour = BOLD if number == 1 else COLOURS.get(number, TEXT)
    target.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(64).save(target, optimize=True)


if __name__ == "__main__":
    source, destination = map(Path, sys.argv[1:])
    draw(chosen(source.read_text(errors="replace")), destination)
