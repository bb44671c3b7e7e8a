"""Read PNG files whose metadata is damaged: it costs the metadata only."""

from __future__ import annotations

import zlib
from typing import BinaryIO

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Ancillary chunks that change the pixels that are read.
_KEPT = {b"tRNS"}


def without_damaged_metadata(file: BinaryIO) -> bytes | None:
    """The file without its ancillary chunks (eXIf, tEXt, iCCP, …), which Pillow refuses where their checksum is wrong.

    Returns: None where it is no PNG, has no damaged ancillary chunk, or is damaged in other ways. Source: PNG
    specification, third edition, sections 5.3 (layout) and 5.4 (naming).
    """
    file.seek(0)
    data = file.read(8)
    if data != _SIGNATURE:
        file.seek(0)
        return None
    kept, has_damage = [data], False
    while len(head := file.read(8)) == 8:
        length = int.from_bytes(head[:4], "big")
        body, checksum = file.read(length), file.read(4)
        kind = head[4:]
        if not kind.isalpha() or len(body) < length or len(checksum) < 4:
            kept.append(head + body + checksum)
            break
        is_ancillary = bool(kind[0] & 32) and kind not in _KEPT
        has_damage |= is_ancillary and zlib.crc32(kind + body) != int.from_bytes(checksum, "big")
        if not is_ancillary:
            kept.append(head + body + checksum)
    file.seek(0)
    return b"".join(kept) if has_damage else None
