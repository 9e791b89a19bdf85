"""A folder and its zip are listed alike; what can't be read or could do harm is refused by name."""

import os
import stat
import struct
import zipfile
from pathlib import Path

import pytest
from checks import contents, refused, write_files

from lowlight.core import sources
from lowlight.core.errors import DataError
from lowlight.core.sources import file_on_disk, is_stray, list_files

# Offsets in a central directory's entry.
_FLAG_BITS, _COMPRESSION, _UNCOMPRESSED_SIZE = 8, 10, 24


@pytest.fixture
def folder(tmp_path):
    return write_files(tmp_path / "source", {"b.txt": "2", "Cat/a.txt": "1", "Cat/.hidden": ""})


def write_zip(path, *members, compression=zipfile.ZIP_DEFLATED):
    """Writes an archive of (name or ZipInfo, bytes)."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def names_in(source):
    return [file.name for file in list_files(source, "input_dir")]


def test_a_folder_and_its_zip_list_the_same_files_sorted_and_name_them_in_messages(folder):
    archive = write_zip(folder.with_suffix(".zip"), *reversed(contents(folder).items()))
    for source, place in ((folder, f"{folder}/"), (archive, f"{archive}: ")):
        files = list_files(source, "input_dir")
        assert [(file.name, file.read(), file.folder) for file in files] == [
            ("Cat/.hidden", b"", "Cat"),
            ("Cat/a.txt", b"1", "Cat"),
            ("b.txt", b"2", ""),
        ]
        assert files[-1].place == f"{place}b.txt"


def test_a_line_break_in_a_name_breaks_no_line_of_a_message(folder, tmp_path):
    (folder / "a\nb\r.jpg").symlink_to("missing")
    zipped = write_zip(tmp_path / "a.zip", ("a\nb\r.jpg", b""))
    for file in (*list_files(folder, "input_dir")[2:3], *list_files(zipped, "input_dir")):
        assert (file.name, file.place[-10:]) == ("a\nb\r.jpg", r"a\nb\r.jpg")


def test_a_class_folder_that_is_a_link_is_read_and_one_back_to_a_folder_above_is_not(
    folder, tmp_path
):
    (folder / "Cat").rename(tmp_path / "elsewhere")
    (folder / "Cat").symlink_to(tmp_path / "elsewhere")
    for name in ("again", "Cat/up", "Cat/to itself"):
        (folder / name).symlink_to(folder if name != "Cat/to itself" else folder / "Cat")
    assert names_in(folder) == ["Cat/.hidden", "Cat/a.txt", "b.txt"]


NO_FILES = {
    "a pipe": (os.mkfifo, "no plain file, but a pipe."),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "no plain file"),
    "a link to nothing": (lambda path: path.symlink_to("missing"), "a link without a file"),
    "a link to itself": (lambda path: path.symlink_to(path.name), "a link without a file"),
    "what may not be looked at": (lambda path: path.symlink_to(300 * "a"), "a link without a file"),
}


@pytest.mark.parametrize(("make", "found"), NO_FILES.values(), ids=NO_FILES)
def test_what_is_no_plain_file_is_refused_where_it_is_read(folder, make, found):
    make(folder / "Cat/odd.jpg")
    files = {file.name: file for file in list_files(folder, "input_dir")}
    assert len(files) == 4
    with refused(f"{folder}/Cat/odd.jpg: {found}"):
        files["Cat/odd.jpg"].read()
    assert files["Cat/a.txt"].read() == b"1"


def test_a_name_that_is_no_text_is_refused_where_it_is_read(folder):
    with open(os.path.join(os.fsencode(folder), b"caf\xe9.jpg"), "wb"):
        pass
    file = list_files(folder, "input_dir")[-1]
    assert file.name == "caf\\xe9.jpg"
    with refused(f"{folder}/caf\\xe9.jpg: a name that isn't UTF-8.\n  Rename it"):
        file.read()
    with refused("a\\x00b: a name that isn't UTF-8"):
        file_on_disk("a\0b", "a\0b").read()


def test_a_folder_that_may_not_be_read_is_named_and_left_out(folder, capsys, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "Cat":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert names_in(folder) == ["b.txt"]
    message = f"warning: {folder}/Cat: Permission denied; it is left out.\n"
    assert capsys.readouterr().err == message


def test_a_file_larger_than_any_image_is_refused_unread(folder):
    os.truncate(folder / "b.txt", 60 * 2**30)  # sparse
    found = list_files(folder, "input_dir")[-1]
    assert found.size == 60 * 2**30
    with refused(f"{folder}/b.txt: 61,440 MiB, more than the 512 of any image"):
        found.read()


def test_no_more_is_read_of_a_file_than_it_says_to_hold(folder):
    (folder / "z.txt").symlink_to("/proc/self/status")  # a plain file of 0 bytes, by its size
    assert list_files(folder, "input_dir")[-1].read() == b""


def make_cut_zip(path):
    write_zip(path, ("a.txt", b"1"))
    os.truncate(path, path.stat().st_size - 10)


NO_SOURCES = {
    "missing": (lambda _: None, "no such folder or zip archive", "Check --input_dir."),
    "an empty folder": (Path.mkdir, "holds no file", "Check --input_dir."),
    "an empty zip": (write_zip, "holds no file", "Check --input_dir."),
    "a text file": (lambda p: p.write_text("text"), "not a whole zip archive", "archive again."),
    "a zip cut short": (make_cut_zip, "not a whole zip archive", "or fetch the archive again."),
}


@pytest.mark.parametrize(("make", "found", "remedy"), NO_SOURCES.values(), ids=NO_SOURCES)
def test_a_source_without_files_is_refused(tmp_path, make, found, remedy):
    make(tmp_path / "ExDark.zip")
    with refused(f"{tmp_path}/ExDark.zip: {found}", remedy):
        list_files(tmp_path / "ExDark.zip", "input_dir")


def test_files_of_systems_and_editors_are_strays():
    names = "Cat/a.png~", "Cat/._a.jpg", ".DS_Store", ".git/a.jpg", "__MACOSX/Cat/a.jpg"
    assert [name for name in ("Cat/a.jpg", *names) if is_stray(name)] == list(names)


# Archives. ----------------------------------------------------------------------------------------


def link(name):
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


HARMFUL = {
    "leads out of the archive": ["../a.jpg", "Cat/../../a.jpg", "../", "/tmp/a.jpg", "C:/a.jpg"],
    "has a name with a backslash or NUL": ["C:\\a.jpg", "Cat\\a.jpg", "..\\a.jpg"],
    "is a symbolic link": [link("Cat/a.jpg"), link("Cat")],
}


@pytest.mark.parametrize(("harm", "members"), HARMFUL.items(), ids=HARMFUL)
def test_all_members_that_lead_elsewhere_are_named_at_once(tmp_path, harm, members):
    harmless = ("b.jpg", b"")
    path = write_zip(tmp_path / "a.zip", harmless, *((name, b"/etc/passwd") for name in members))
    with pytest.raises(DataError) as caught:
        list_files(path, "input_dir")
    names = [getattr(member, "filename", member) for member in members]
    lines = [line for line in str(caught.value).splitlines() if line.startswith(f"{path}: ")]
    expected = [f"{path}: {name!r} {harm}" for name in names]
    assert [line[: len(start)] for line, start in zip(lines, expected, strict=True)] == expected
    assert "\n  Remove it from the archive.\n" in str(caught.value)


@pytest.mark.parametrize("name", ["./a.jpg", "a..jpg", "Cat/a b.jpg", "...", "Cat:a.jpg", "é.jpg"])
def test_an_unusual_name_that_stays_inside_is_no_harm(tmp_path, name):
    path = write_zip(tmp_path / "a.zip", (name, b"1"))
    assert [file.read() for file in list_files(path, "input_dir")] == [b"1"]


def test_a_member_that_expands_too_far_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_MEMBER_BYTES", 2**20)
    path = write_zip(tmp_path / "a.zip", ("a.jpg", bytes(2**20)), ("b.jpg", bytes(2**20 + 1)))
    with refused(f"{path}: 'b.jpg' expands to 1 MiB, more than the 1 of any image"):
        list_files(path, "input_dir")


def damaged(path, damage, compression):
    """Returns the one file, which has content of 1000 bytes, of an archive damaged like this."""
    write_zip(path, ("a.txt", b"content " * 125), compression=compression)
    data = bytearray(path.read_bytes())
    damage(data)
    path.write_bytes(data)
    (file,) = list_files(path, "input_dir")
    return file


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize(
    ("declared", "found"), [(10, "Bad CRC-32"), (2000, "2000 bytes declared, 1000 found)")]
)
def test_a_member_of_another_size_than_declared_is_refused(tmp_path, compression, declared, found):
    def declare(data):
        struct.pack_into("<I", data, data.index(b"PK\1\2") + _UNCOMPRESSED_SIZE, declared)

    file = damaged(tmp_path / "a.zip", declare, compression)
    with refused(f"{tmp_path}/a.zip: a.txt: can't be read ({found}"):
        file.read()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_any_compression_is_read_and_a_name_may_come_twice(tmp_path, compression):
    members = ("a.jpg", b"content" * 99), ("a.jpg", b"2"), ("empty.jpg", b"")
    path = write_zip(tmp_path / "a.zip", *members, compression=compression)
    assert [(f.name, f.read()) for f in list_files(path, "input_dir")] == list(members)


def damage_data(data):
    start = data.index(b"a.txt") + len(b"a.txt")
    data[start : start + 2] = b"\xff\xff"


def set_in_headers(offset, value):
    """Returns a function that sets a field of the one member, in both of its headers."""

    def change(data):
        data[data.index(b"PK\1\2") + offset] = value
        data[offset - 2] = value  # the local header's fields stand two bytes earlier

    return change


UNREADABLE = {
    "other bytes": (damage_data, zipfile.ZIP_STORED),
    "other bytes, deflated": (damage_data, zipfile.ZIP_DEFLATED),
    "encrypted": (set_in_headers(_FLAG_BITS, 1), zipfile.ZIP_STORED),
    "Deflate64": (set_in_headers(_COMPRESSION, 9), zipfile.ZIP_STORED),
}


@pytest.mark.parametrize(("damage", "compression"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_member_that_cannot_be_read_is_named(tmp_path, damage, compression):
    file = damaged(tmp_path / "a.zip", damage, compression)
    with refused(f"{tmp_path}/a.zip: a.txt: "):
        file.read()
