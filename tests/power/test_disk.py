"""The disk the power cuts are tried on: it keeps what was flushed, always, and nothing else for sure."""

from __future__ import annotations

import random
import stat

import pytest

from tests.power.disk import PAGE, Disk

FILE, FOLDER = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755
SEEDS = range(40)


def cut_of(prepare, look):
    """What ``look`` finds after the power was cut, for many seeds."""
    found = set()
    for seed in SEEDS:
        disk = Disk()
        prepare(disk)
        disk.cut(random.Random(seed))
        found.add(look(disk))
    return found


def exists(disk, path):
    try:
        disk.find(path)
    except FileNotFoundError:
        return False
    return True


def test_what_was_flushed_is_always_kept():
    def prepare(disk):
        disk.create("/a", FOLDER)
        disk.flush(disk.root)
        file = disk.create("/a/x", FILE)
        file.write(b"x" * 3 * PAGE, 0)
        disk.flush(file)
        disk.flush(disk.find("/a"))

    assert cut_of(prepare, lambda disk: bytes(disk.find("/a/x").data)) == {b"x" * 3 * PAGE}


def test_a_name_whose_folder_was_not_flushed_is_kept_or_lost():
    def prepare(disk):
        disk.flush(disk.create("/x", FILE))

    assert cut_of(prepare, lambda disk: exists(disk, "/x")) == {True, False}


def test_names_are_lost_one_by_one_in_any_combination():
    def prepare(disk):
        disk.create("/x", FILE)
        disk.create("/y", FILE)

    found = cut_of(prepare, lambda disk: (exists(disk, "/x"), exists(disk, "/y")))
    assert found == {(True, True), (True, False), (False, True), (False, False)}


def test_a_rename_is_kept_or_lost_whole_and_flushed_by_either_folder():
    def prepare(disk, flushed=None):
        for folder in ("/a", "/b"):
            disk.create(folder, FOLDER)
        disk.create("/a/x", FILE)
        disk.flush(disk.root)
        disk.flush(disk.find("/a"))
        disk.rename("/a/x", "/b/x")
        if flushed:
            disk.flush(disk.find(flushed))

    def look(disk):
        return exists(disk, "/a/x"), exists(disk, "/b/x")

    assert cut_of(prepare, look) == {(True, False), (False, True)}
    for folder in ("/a", "/b"):
        assert cut_of(lambda disk, folder=folder: prepare(disk, folder), look) == {(False, True)}


@pytest.mark.parametrize("flushed", [b"", b"old" * PAGE])
def test_bytes_that_were_not_flushed_are_kept_lost_or_zero_page_by_page(flushed):
    def prepare(disk):
        file = disk.create("/x", FILE)
        disk.flush(disk.root)
        file.write(flushed, 0)
        disk.flush(file)
        file.write(b"n" * PAGE * 4, 0)

    found = cut_of(prepare, lambda disk: bytes(disk.find("/x").data))
    assert {flushed, b"n" * PAGE * 4} <= found
    assert len(found) > 4
    allowed = (b"n" * PAGE, bytes(PAGE), *(flushed[at : at + PAGE] for at in range(0, len(flushed), PAGE)))
    for data in found:
        pages = [data[at : at + PAGE] for at in range(0, len(data), PAGE)]
        assert all(any(page == one[: len(page)] for one in allowed) for page in pages)


def test_a_file_with_two_names_is_one_file_and_each_name_is_flushed_by_itself():
    def prepare(disk):
        disk.create("/a", FOLDER)
        disk.create("/x", FILE)
        disk.flush(disk.root)
        disk.link("/x", "/a/x")
        assert disk.find("/x").links == 2

    found = cut_of(prepare, lambda disk: (disk.find("/x").links, exists(disk, "/a/x")))
    assert found == {(2, True), (1, False)}
