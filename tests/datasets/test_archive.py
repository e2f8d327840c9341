import gzip
import tarfile
import zipfile

import pytest

from oamface.datasets.archive import Archive
from oamface.errors import DataError

FILES = {"set/a.jpg": b"one", "set/deep/b.png": b"two", "c.txt": b""}


@pytest.fixture(params=["folder", "tar", "tar.gz", "zip"])
def path(request, tmp_path):
    tree = tmp_path / "tree"
    for name, data in FILES.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(data)
    if request.param == "folder":
        return tree
    packed = tmp_path / f"packed.{request.param}"
    if request.param == "zip":
        with zipfile.ZipFile(packed, "w") as file:
            for name in FILES:
                file.write(tree / name, name)
    else:
        with tarfile.open(packed, "w:gz" if request.param == "tar.gz" else "w") as file:
            for name in FILES:
                file.add(tree / name, name)
    return packed


def test_archive_reads_files_by_name(path) -> None:
    with Archive(path) as archive:
        assert {name: archive.read(name) for name in archive.names} == FILES
        with pytest.raises(DataError, match=r"missing\.jpg"):
            archive.read("missing.jpg")


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_names_that_begin_with_the_current_folder(tmp_path, kind) -> None:
    (tmp_path / "one").write_bytes(b"one")
    with tarfile.open(tmp_path / "x.tar", "w") as tar, zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        tar.add(tmp_path / "one", "./set/a.jpg")
        file.writestr("./set/a.jpg", b"one")
    with Archive(tmp_path / f"x.{kind}") as archive:
        assert archive.names == ["set/a.jpg"]
        assert archive.has("set/a.jpg")
        assert archive.read("set/a.jpg") == b"one"


@pytest.mark.parametrize("content", [None, b"", b"no archive at all", b"PK\x03\x04 damaged"])
def test_archive_rejects_missing_and_damaged_files(tmp_path, content) -> None:
    path = tmp_path / "x.tar"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.tar"):
        Archive(path)


@pytest.fixture
def tar(tmp_path) -> bytes:
    """A folder and three images, whose headers begin at 512, 1536 and 2560."""
    (tmp_path / "a").write_bytes(b"image")
    with tarfile.open(tmp_path / "whole.tar", "w", format=tarfile.GNU_FORMAT) as file:
        file.add(tmp_path, "set", recursive=False)
        for name in ("a.jpg", "b.jpg", "c.jpg"):
            file.add(tmp_path / "a", f"set/{name}")
    return (tmp_path / "whole.tar").read_bytes()


@pytest.mark.parametrize("header", [512, 1536])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["tar", "tar.gz"])
def test_archive_rejects_tar_with_a_damaged_header_or_without_its_end(tmp_path, tar, header, pack) -> None:
    for content in (tar[:header] + b"\7" * 512 + tar[header + 512 :], tar[:header]):
        (tmp_path / "x.tar").write_bytes(pack(content))
        with pytest.raises(DataError, match=r"x\.tar: the archive is damaged or cut off \(.* header before the end"):
            Archive(tmp_path / "x.tar")


def test_archive_rejects_gzip_with_damaged_content(tmp_path, tar) -> None:
    packed = gzip.compress(tar, compresslevel=0)  # stored as it is
    (tmp_path / "x.tar.gz").write_bytes(packed.replace(b"image", b"imagE", 1))
    with pytest.raises(DataError, match=r"x\.tar\.gz: the archive is damaged or cut off \(CRC"):
        Archive(tmp_path / "x.tar.gz")


def test_archive_rejects_gzip_that_cannot_be_decompressed(tmp_path) -> None:
    (tmp_path / "a").write_bytes(bytes(200_000))
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz", compresslevel=0) as file:
        file.add(tmp_path / "a", "a.jpg")
    packed = (tmp_path / "x.tar.gz").read_bytes()
    (tmp_path / "x.tar.gz").write_bytes(packed[:2000] + b"\xff" * (len(packed) - 2000))
    with pytest.raises(DataError, match=r"x\.tar\.gz: the archive is damaged or cut off \(.*invalid block type"):
        Archive(tmp_path / "x.tar.gz")


def test_archive_rejects_truncated_tar(tmp_path) -> None:
    (tmp_path / "big").write_bytes(bytes(range(256)) * 400)
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as file:
        file.add(tmp_path / "big", "a.jpg")
        file.add(tmp_path / "big", "b.jpg")
    (tmp_path / "y.tar.gz").write_bytes((tmp_path / "x.tar.gz").read_bytes()[:300])
    with pytest.raises(DataError, match=r"y\.tar\.gz"):
        Archive(tmp_path / "y.tar.gz")
