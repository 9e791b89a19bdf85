"""A folder and its zip are listed alike; what can't be read or could do harm is refused by name."""

import os
import stat
import struct
import zipfile
from pathlib import Path

import pytest
from checks import refused, write_files

from lowlight.core import sources
from lowlight.core.errors import DataError
from lowlight.core.sources import file_on_disk, is_stray, list_files
from lowlight.dataset.conversion import convert_images

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


def zip_of(folder):
    files = [file for file in sorted(folder.rglob("*"), reverse=True) if file.is_file()]
    members = [(file.relative_to(folder).as_posix(), file.read_bytes()) for file in files]
    return write_zip(folder.with_suffix(".zip"), *members)


def names_in(source):
    return [file.name for file in list_files(source, "input_dir")]


def test_a_folder_and_its_zip_list_the_same_files_sorted(folder):
    expected = [("Cat/.hidden", b"", "Cat"), ("Cat/a.txt", b"1", "Cat"), ("b.txt", b"2", "")]
    for source in (folder, zip_of(folder)):
        files = list_files(source, "input_dir")
        assert [(file.name, file.read(), file.folder) for file in files] == expected


def test_a_message_can_name_a_file_on_disk_and_in_an_archive(folder):
    archive = zip_of(folder)
    assert list_files(folder, "input_dir")[-1].place == str(folder / "b.txt")
    assert list_files(archive, "input_dir")[-1].place == f"{archive}: b.txt"


def test_a_line_break_in_a_name_breaks_no_line_of_a_message(folder, tmp_path):
    (folder / "a\nb\r.jpg").symlink_to("missing")
    zipped = write_zip(tmp_path / "a.zip", ("a\nb\r.jpg", b""))
    for file in (*list_files(folder, "input_dir")[2:3], *list_files(zipped, "input_dir")):
        assert (file.name, file.place[-10:]) == ("a\nb\r.jpg", r"a\nb\r.jpg")


def test_a_class_folder_that_is_a_link_is_read(folder, tmp_path):
    (folder / "Cat").rename(tmp_path / "elsewhere")
    (folder / "Cat").symlink_to(tmp_path / "elsewhere")
    assert names_in(folder) == ["Cat/.hidden", "Cat/a.txt", "b.txt"]


def test_links_back_to_a_folder_above_are_not_followed(folder):
    for name in ("again", "Cat/up", "Cat/to itself"):
        (folder / name).symlink_to(folder if name != "Cat/to itself" else folder / "Cat")
    assert names_in(folder) == ["Cat/.hidden", "Cat/a.txt", "b.txt"]


@pytest.mark.parametrize(
    ("make", "found"),
    [
        pytest.param(os.mkfifo, "no plain file, but a pipe.", id="a pipe"),
        pytest.param(lambda p: p.symlink_to("/dev/zero"), "no plain file", id="a device"),
        pytest.param(lambda p: p.symlink_to("missing"), "a link without", id="to nothing"),
        pytest.param(lambda p: p.symlink_to(p.name), "a link without a file", id="to itself"),
        pytest.param(
            lambda p: p.symlink_to(300 * "a"), "a link without", id="may not be looked at"
        ),
    ],
)
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
    with pytest.raises(DataError, match=r"/caf\\xe9\.jpg: a name that isn't UTF-8\.\n  Rename it"):
        file.read()
    with pytest.raises(DataError, match=r"a\\x00b: a name that isn't UTF-8"):
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
    with open(folder / "b.txt", "wb") as file:
        file.truncate(60 * 2**30)  # sparse
    found = list_files(folder, "input_dir")[-1]
    assert found.size == 60 * 2**30
    with pytest.raises(DataError, match=r"b\.txt: 61,440 MiB, more than the 512 of any image"):
        found.read()


def test_no_more_is_read_of_a_file_than_it_says_to_hold(folder):
    (folder / "z.txt").symlink_to("/proc/self/status")  # a plain file of 0 bytes, by its size
    assert list_files(folder, "input_dir")[-1].read() == b""


def make_cut_zip(path):
    write_zip(path, ("a.txt", b"1"))
    path.write_bytes(path.read_bytes()[:-10])


@pytest.mark.parametrize(
    ("make", "found", "remedy"),
    [
        (lambda _: None, "no such folder or zip archive", "Check --input_dir."),
        (lambda path: path.mkdir(), "holds no file", "Check --input_dir."),
        (write_zip, "holds no file", "Check --input_dir."),
        (lambda p: p.write_text("text"), "not a whole zip archive", "or fetch the archive again."),
        (make_cut_zip, "not a whole zip archive", "or fetch the archive again."),
    ],
    ids=["missing", "empty folder", "empty zip", "a text file", "a zip cut short"],
)
def test_a_source_without_files_is_refused(tmp_path, make, found, remedy):
    source = tmp_path / "ExDark.zip"
    make(source)
    with refused(f"{source}: {found}", remedy):
        list_files(source, "input_dir")


@pytest.mark.parametrize(
    ("name", "stray"),
    [
        ("Bicycle/2015_00001.jpg", False),
        ("Bicycle/2015_03019.png~", True),
        ("Bicycle/._2015_00001.jpg", True),
        (".DS_Store", True),
        (".git/2015_00001.jpg", True),
        ("__MACOSX/Bicycle/2015_00001.jpg", True),
    ],
)
def test_files_of_systems_and_editors_are_strays(name, stray):
    assert is_stray(name) == stray


# Archives. ----------------------------------------------------------------------------------------


def link(name):
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("../a.jpg", "leads out of the archive"),
        ("Cat/../../a.jpg", "leads out of the archive"),
        ("../", "leads out of the archive"),
        ("/tmp/a.jpg", "leads out of the archive"),
        ("C:/a.jpg", "leads out of the archive"),
        ("C:\\a.jpg", "has a name with a backslash or NUL"),
        ("Cat\\a.jpg", "has a name with a backslash or NUL"),
        ("..\\a.jpg", "has a name with a backslash or NUL"),
        (link("Cat/a.jpg"), "is a symbolic link"),
        (link("Cat"), "is a symbolic link"),
    ],
    ids=str,
)
def test_a_member_that_leads_elsewhere_is_refused_and_nothing_is_written(
    tiny_exdark, tmp_path, name, harm
):
    image = (tiny_exdark / "ExDark/Bicycle/2015_00001.jpg").read_bytes()
    path = write_zip(tmp_path / "a.zip", ("Cat/b.jpg", image), (name, b"/etc/passwd"))
    with pytest.raises(DataError) as caught:
        convert_images(path, tmp_path / "images")
    name = getattr(name, "filename", name)
    assert str(caught.value).startswith(f"{path}: {name!r} {harm}")
    assert "\n  Remove it from the archive.\n" in str(caught.value)
    assert not (tmp_path / "images").exists()


def test_all_harmful_members_are_named_at_once(tmp_path):
    path = write_zip(tmp_path / "a.zip", ("../a.jpg", b""), ("b.jpg", b""), ("/c.jpg", b""))
    with pytest.raises(DataError) as caught:
        list_files(path, "input_dir")
    assert str(caught.value).count("leads out") == 2


@pytest.mark.parametrize("name", ["./a.jpg", "a..jpg", "Cat/a b.jpg", "...", "Cat:a.jpg", "é.jpg"])
def test_an_unusual_name_that_stays_inside_is_no_harm(tmp_path, name):
    path = write_zip(tmp_path / "a.zip", (name, b"1"))
    assert [file.read() for file in list_files(path, "input_dir")] == [b"1"]


def test_a_member_that_expands_too_far_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_MEMBER_BYTES", 2**20)
    path = write_zip(tmp_path / "a.zip", ("a.jpg", bytes(2**20)), ("b.jpg", bytes(2**20 + 1)))
    with pytest.raises(DataError, match=r"'b\.jpg' expands to 1 MiB, more than the 1 of any image"):
        list_files(path, "input_dir")


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize(
    ("declared", "found"), [(10, "Bad CRC-32"), (2000, r"2000 bytes declared, 1000 found\)")]
)
def test_a_member_of_another_size_than_declared_is_refused(tmp_path, compression, declared, found):
    path = write_zip(tmp_path / "a.zip", ("a.jpg", bytes(1000)), compression=compression)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(b"PK\1\2") + _UNCOMPRESSED_SIZE, declared)
    path.write_bytes(data)
    (file,) = list_files(path, "input_dir")
    with pytest.raises(DataError, match=rf"a\.zip: a\.jpg: can't be read \({found}"):
        file.read()


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_any_compression_is_read(tmp_path, compression):
    members = ("a.jpg", b"content" * 99), ("empty.jpg", b"")
    path = write_zip(tmp_path / "a.zip", *members, compression=compression)
    assert [(f.name, f.read()) for f in list_files(path, "input_dir")] == list(members)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_may_hold_a_name_twice(tmp_path):
    path = write_zip(tmp_path / "ExDark.zip", ("a.txt", b"1"), ("a.txt", b"2"))
    assert names_in(path) == ["a.txt", "a.txt"]


def damage_data(data):
    start = data.index(b"a.txt") + len(b"a.txt")
    data[start : start + 2] = b"\xff\xff"


def set_in_headers(offset, value):
    """Returns a function that sets a field of the one member, in both of its headers."""

    def change(data):
        data[data.index(b"PK\1\2") + offset] = value
        data[offset - 2] = value  # the local header's fields stand two bytes earlier

    return change


@pytest.mark.parametrize(
    ("damage", "compression"),
    [
        pytest.param(damage_data, zipfile.ZIP_STORED, id="other bytes"),
        pytest.param(damage_data, zipfile.ZIP_DEFLATED, id="other bytes, deflated"),
        pytest.param(set_in_headers(_FLAG_BITS, 1), zipfile.ZIP_STORED, id="encrypted"),
        pytest.param(set_in_headers(_COMPRESSION, 9), zipfile.ZIP_STORED, id="Deflate64"),
    ],
)
def test_a_member_that_cannot_be_read_is_named(tmp_path, damage, compression):
    path = write_zip(tmp_path / "a.zip", ("Cat/a.txt", b"content"), compression=compression)
    data = bytearray(path.read_bytes())
    damage(data)
    path.write_bytes(data)
    (file,) = list_files(path, "input_dir")
    with refused(f"{path}: Cat/a.txt: "):
        file.read()
