import os
import zipfile
from pathlib import Path

import pytest

from lowlight.core.errors import DataError
from lowlight.core.sources import file_on_disk, is_stray, list_files

_FLAG_BITS, _COMPRESSION = 8, 10  # offsets in a central directory's entry


@pytest.fixture
def folder(tmp_path):
    for name, data in (("b.txt", b"2"), ("Cat/a.txt", b"1"), ("Cat/.hidden", b"")):
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "source"


def zip_of(folder):
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*"), reverse=True):
            archive.write(file, file.relative_to(folder))
    return path


def test_a_folder_and_its_zip_list_the_same_files_sorted(folder):
    expected = [("Cat/.hidden", b""), ("Cat/a.txt", b"1"), ("b.txt", b"2")]
    for source in (folder, zip_of(folder)):
        assert [(file.name, file.read()) for file in list_files(source, "input_dir")] == expected


def test_a_file_knows_the_folder_it_lies_in(folder):
    files = {file.name: file for file in list_files(folder, "input_dir")}
    assert (files["Cat/a.txt"].folder, files["b.txt"].folder) == ("Cat", "")


def test_a_message_can_name_a_file_on_disk_and_in_an_archive(folder):
    archive = zip_of(folder)
    assert list_files(folder, "input_dir")[-1].place == str(folder / "b.txt")
    assert list_files(archive, "input_dir")[-1].place == f"{archive}: b.txt"


def test_a_class_folder_that_is_a_link_is_read(folder, tmp_path):
    (folder / "Cat").rename(tmp_path / "elsewhere")
    (folder / "Cat").symlink_to(tmp_path / "elsewhere")
    names = [file.name for file in list_files(folder, "input_dir")]
    assert names == ["Cat/.hidden", "Cat/a.txt", "b.txt"]


def test_links_back_to_a_folder_above_are_not_followed(folder):
    for name in ("again", "Cat/up", "Cat/to itself"):
        (folder / name).symlink_to(folder if name != "Cat/to itself" else folder / "Cat")
    names = [file.name for file in list_files(folder, "input_dir")]
    assert names == ["Cat/.hidden", "Cat/a.txt", "b.txt"]


@pytest.mark.parametrize(
    ("make", "found"),
    [
        pytest.param(os.mkfifo, "no plain file, but a pipe.", id="a pipe"),
        pytest.param(lambda p: p.symlink_to("/dev/zero"), "no plain file", id="a device"),
        pytest.param(lambda p: p.symlink_to("missing"), "a link without", id="to nothing"),
        pytest.param(lambda p: p.symlink_to(p.name), "a link without a file", id="to itself"),
    ],
)
def test_what_is_no_plain_file_is_refused_where_it_is_read(folder, make, found):
    make(folder / "Cat/odd.jpg")
    files = {file.name: file for file in list_files(folder, "input_dir")}
    assert len(files) == 4
    with pytest.raises(DataError) as caught:
        files["Cat/odd.jpg"].read()
    assert str(caught.value).startswith(f"{folder}/Cat/odd.jpg: {found}")
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
    assert [file.name for file in list_files(folder, "input_dir")] == ["b.txt"]
    message = f"warning: {folder}/Cat: Permission denied; it is left out.\n"
    assert capsys.readouterr().err == message


def test_a_file_larger_than_any_image_is_refused_unread(folder):
    with open(folder / "b.txt", "wb") as file:
        file.truncate(60 * 2**30)  # sparse
    found = list_files(folder, "input_dir")[-1]
    assert found.size == 60 * 2**30
    with pytest.raises(DataError, match=r"b\.txt: 61,440 MiB, more than the 512 of any image"):
        found.read()


def make_text(path):
    path.write_text("no archive")


def make_empty_zip(path):
    zipfile.ZipFile(path, "w").close()


def make_cut_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", b"1")
    path.write_bytes(path.read_bytes()[:-10])


@pytest.mark.parametrize(
    ("make", "found", "remedy"),
    [
        pytest.param(lambda _: None, "no such folder or zip archive", "Check --input_dir."),
        pytest.param(lambda path: path.mkdir(), "holds no file", "Check --input_dir."),
        pytest.param(make_empty_zip, "holds no file", "Check --input_dir."),
        pytest.param(make_text, "not a whole zip archive", "or fetch the archive again."),
        pytest.param(make_cut_zip, "not a whole zip archive", "or fetch the archive again."),
    ],
    ids=["missing", "empty folder", "empty zip", "a text file", "a zip cut short"],
)
def test_a_source_without_files_is_refused(tmp_path, make, found, remedy):
    source = tmp_path / "ExDark.zip"
    make(source)
    with pytest.raises(DataError) as caught:
        list_files(source, "input_dir")
    assert str(caught.value).startswith(f"{source}: {found}")
    assert str(caught.value).endswith(remedy)


def damage_data(data):
    start = data.index(b"a.txt") + len(b"a.txt")
    return data[:start] + b"\xff\xff" + data[start + 2 :]


def set_in_headers(offset, value):
    """Returns a function that sets a field of the one member, in both of its headers."""

    def change(data):
        changed = bytearray(data)
        central = data.index(b"PK\1\2")
        changed[central + offset] = value
        changed[offset - 2] = value  # the local header's fields stand two bytes earlier
        return bytes(changed)

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
    path = tmp_path / "ExDark.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("Cat/a.txt", "content")
    path.write_bytes(damage(path.read_bytes()))
    (file,) = list_files(path, "input_dir")
    with pytest.raises(DataError) as caught:
        file.read()
    assert str(caught.value).startswith(f"{path}: Cat/a.txt: ")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_may_hold_a_name_twice(tmp_path):
    path = tmp_path / "ExDark.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", b"1")
        archive.writestr("a.txt", b"2")
    assert [file.name for file in list_files(path, "input_dir")] == ["a.txt", "a.txt"]


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
