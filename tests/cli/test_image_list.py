import os

import pytest
from PIL import Image

from oamface.cli.image_list import list_images
from oamface.errors import DataError


def write_png(path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 80), "grey").save(path, "PNG")


@pytest.fixture
def tree(tmp_path):
    for name in ("a.png", "sub/b.JPG", "sub/.hidden.png", "sub/notes.txt", "c[1].webp"):
        write_png(tmp_path / name)
    return tmp_path


def names(tree, *paths: str) -> list[str]:
    listed = list_images([f"{tree}/{path}".rstrip("/") for path in paths])
    return [image.path.removeprefix(f"{tree}/") for image in listed.images]


def test_list_images_lists_folders_globs_and_files_once(tree) -> None:
    assert names(tree, "") == ["a.png", "c[1].webp", "sub/b.JPG"]
    assert names(tree, "sub", "a.png") == ["sub/b.JPG", "a.png"]
    assert names(tree, "*.png", "a.png") == ["a.png"]
    assert names(tree, "**/*.JPG") == ["sub/b.JPG"]
    assert names(tree, "c[1].webp") == ["c[1].webp"]
    assert names(tree, "missing.png") == ["missing.png"]
    assert names(tree, "sub/notes.txt") == ["sub/notes.txt"]


def test_list_images_recognises_files_without_suffix_by_their_first_bytes(tmp_path) -> None:
    write_png(tmp_path / "no_suffix")
    (tmp_path / "README").write_text("BM is no bitmap")
    assert names(tmp_path, "") == ["no_suffix"]


def test_skipped_counts_unsupported_and_unreadable_files(tree) -> None:
    listed = list_images([str(tree)])
    assert listed.unsupported == [f"{tree}/sub/notes.txt"]
    assert listed.skipped(failures=2).startswith("3 skipped: 1 of an unsupported format (notes.txt)")
    assert list_images([f"{tree}/a.png"]).skipped(failures=0) == ""


def test_list_images_follows_linked_folders_once_and_no_loops(tree) -> None:
    write_png(tree / "elsewhere/linked.png")
    (tree / "sub/loop").symlink_to(tree)
    (tree / "again").symlink_to(tree / "elsewhere")
    listed = [os.path.basename(name) for name in names(tree, "sub", "again", "elsewhere")]  # noqa: PTH119
    assert sorted(listed) == ["a.png", "b.JPG", "c[1].webp", "linked.png"]


def test_list_images_keeps_dangling_links(tmp_path) -> None:
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert names(tmp_path, "") == ["gone.png"]


def test_list_images_keeps_links_to_themselves_and_names_that_are_too_long(tmp_path) -> None:
    """Reading these gives their errors, beside the others' results."""
    write_png(tmp_path / "a.png")
    (tmp_path / "self.png").symlink_to("self.png")
    long = "x" * 300 + ".png"
    assert names(tmp_path, "", long, "self.png") == ["a.png", "self.png", long]


def test_list_images_does_not_wait_for_a_pipe(tree) -> None:
    os.mkfifo(tree / "pipe")
    assert "pipe" not in names(tree, "")


@pytest.mark.parametrize("path", ["empty", "*.bmp"])
def test_list_images_rejects_folders_and_globs_without_images(tree, path: str) -> None:
    (tree / "empty").mkdir()
    with pytest.raises(DataError):
        list_images([f"{tree}/{path}"])


def test_folders_and_globs_without_images_are_listed_beside_the_others(tree) -> None:
    (tree / "empty").mkdir()
    (tree / "texts").mkdir()
    (tree / "texts/notes.txt").write_text("text")
    paths = [
        f"{tree}/{path}" for path in ("a.png", "empty", "*.bmp", "texts", "sub", "a.png", "*.png", "sub/b.JPG", "sub")
    ]
    assert list_images(paths).empty == [f"{tree}/{path}" for path in ("empty", "*.bmp", "texts")]
