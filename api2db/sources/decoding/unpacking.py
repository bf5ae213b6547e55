"""Bodies that are packed files themselves: .gz, and .zip with one file in it. By their first bytes, not their names.

What a Content-Encoding packs is unpacked before, by urllib3.
"""

from __future__ import annotations

import itertools
import lzma
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from typing import Final

from api2db.sources.decoding.unreadable import Unreadable

_GZIP: Final = b"\x1f\x8b\x08"
_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")  # the second of one without files
_PIECE: Final = 2**18
_NAMED: Final = 5


def unpacked(chunks: Iterable[bytes], most_bytes: int) -> tuple[str, Iterator[bytes]]:
    """The name of the file in a zip, else ""; and the bytes, in pieces, ``most_bytes`` at most. Raises Unreadable."""
    start, whole = peeked(chunks, 4)
    if start.startswith(_GZIP):
        return "", _bounded(_gunzipped(whole), most_bytes)
    if start.startswith(_ZIP):
        return _unzipped(whole, most_bytes)
    return "", whole


def peeked(chunks: Iterable[bytes], size: int) -> tuple[bytes, Iterator[bytes]]:
    """The first ``size`` bytes, or more, or all there are; and everything, those included."""
    rest, start = iter(chunks), b""
    for chunk in rest:
        start += chunk
        if len(start) >= size:
            break
    return start, itertools.chain((start,) if start else (), rest)


def _bounded(pieces: Iterable[bytes], most_bytes: int) -> Iterator[bytes]:
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > most_bytes:
            raise Unreadable(f"unpacked it is larger than {most_bytes:,} bytes; ask for less, or raise max_bytes")
        yield piece


def _gunzipped(chunks: Iterable[bytes]) -> Iterator[bytes]:
    engine = zlib.decompressobj(wbits=31)
    try:
        for chunk in chunks:
            data = chunk
            while data:
                if engine.eof:
                    data = data.lstrip(b"\0")  # some pad to whole blocks
                    if not data:
                        break
                    engine = zlib.decompressobj(wbits=31)  # a file may be several, one after the other
                piece = engine.decompress(data, _PIECE)
                data = engine.unused_data if engine.eof else engine.unconsumed_tail
                if piece:
                    yield piece
        yield engine.flush()
    except zlib.error as error:
        raise Unreadable(f"the gzip file is damaged: {error}") from None
    if not engine.eof:
        raise Unreadable("the gzip file is cut short")


def _unzipped(chunks: Iterable[bytes], most_bytes: int) -> tuple[str, Iterator[bytes]]:
    """A zip says at its end what is in it: it is kept in a temporary file meanwhile."""
    packed = tempfile.TemporaryFile()  # noqa: SIM115 - closed by whoever reads it
    try:
        for chunk in chunks:
            packed.write(chunk)
        archive = zipfile.ZipFile(packed)
        files = [one for one in archive.infolist() if not one.is_dir() and not one.filename.startswith("__MACOSX/")]
        if len(files) != 1:
            named = ", ".join(repr(one.filename) for one in files[:_NAMED]) or "none"
            more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
            raise Unreadable(f"the zip holds {len(files)} files, where one is read: {named}{more}")
        if files[0].flag_bits & 1:
            raise Unreadable("the zip is encrypted")
    except zipfile.BadZipFile as error:
        packed.close()
        raise Unreadable(f"the zip is damaged: {error}") from None
    except BaseException:
        packed.close()
        raise

    def pieces() -> Iterator[bytes]:
        try:
            with packed, archive, archive.open(files[0]) as member:
                while piece := member.read(_PIECE):
                    yield piece
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, OSError) as error:
            raise Unreadable(f"the zip can't be read: {error}") from None

    return files[0].filename, _bounded(pieces(), most_bytes)
