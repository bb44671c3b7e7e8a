"""Read PNG files whose metadata is damaged, and the transparent color of 2, 4 or 16 bits."""

from __future__ import annotations

import os
from typing import BinaryIO

from PIL import Image

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Ancillary chunks that change the pixels that are read.
_KEPT = {b"tRNS"}
# By Pillow's name of the layout, the factor that scales greys of few bits to 8 bits.
_FEW_BITS = {"L;2": 85, "L;4": 17}


def without_metadata(file: BinaryIO) -> bytes | None:
    """Return the file without its ancillary chunks (eXIf, tEXt, iCCP, …): Pillow refuses a file with damaged ones.

    Returns: None where it is not a PNG or has no such chunk. Source: PNG specification, third edition, sections 5.3
    (layout) and 5.4 (naming).
    """
    file.seek(0)
    chunks, has_metadata = [file.read(8)], False
    while chunks[0] == _SIGNATURE and len(head := file.read(8)) == 8:
        kind, length = head[4:], int.from_bytes(head[:4], "big")
        if bool(kind[0] & 32) and kind not in _KEPT:
            has_metadata = True
            file.seek(length + 4, os.SEEK_CUR)
        else:
            chunks.append(head + file.read(length + 4))
    file.seek(0)
    return b"".join(chunks) if has_metadata else None


def fix_transparency(image: Image.Image) -> None:
    """Have the transparent color in the 8 bits that Pillow reads of 16 bits of RGB, and of 2 or 4 bits of grey.

    Of 16 bits, colors that differ from it in their lower 8 bits alone become transparent too. Source: PNG
    specification, third edition, section 11.3.1.1: the color is compared before samples are scaled.
    """
    transparent, tile = image.info.get("transparency"), getattr(image, "tile", None)
    layout = tile[0][3] if tile else None
    if image.mode == "RGB" and isinstance(transparent, tuple) and layout == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in transparent)
    elif image.mode == "L" and isinstance(transparent, int) and layout in _FEW_BITS:
        image.info["transparency"] = transparent * _FEW_BITS[layout]
