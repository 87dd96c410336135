"""What goes into an archive, and under which names."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest

from archiver import ModelArchiverConfig
from archiver.errors import InvalidInputError, MemberConflictError, MissingFileError
from archiver.members import collect_members


def members(**arguments: Any) -> dict[str, str]:
    arguments.setdefault("handler", "image_classifier")
    return collect_members(ModelArchiverConfig(model_name="a", version="1.0", **arguments))


def test_named_files_land_at_the_root(project: Path) -> None:
    assert members(
        handler="src/h.py",
        model_file="src/m.py",
        serialized_file="w.pth",
        requirements_file="reqs.txt",
        config_file="cfg.yaml",
    ) == {
        "cfg.yaml": "cfg.yaml",
        "h.py": "src/h.py",
        "m.py": "src/m.py",
        "reqs.txt": "reqs.txt",
        "w.pth": "w.pth",
    }


def test_extra_directory_gives_its_children_without_caches_and_hidden_directories(
    project: Path,
) -> None:
    assert list(members(extra_files="extra.txt,d")) == [
        ".hidden-file",
        "cached.pyc",
        "extra.txt",
        "in.txt",
        "sub/deep.txt",
        "sub/deeper/still.txt",
    ]


def test_patterns_are_expanded(project: Path) -> None:
    assert list(members(extra_files="*.json")) == ["one.json", "two.json"]
    assert list(members(extra_files="on?.json,t[vw]o.json")) == ["one.json", "two.json"]
    assert list(members(extra_files="d/su?")) == ["deep.txt", "deeper/still.txt"]


def test_pattern_without_a_match_is_a_warning(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert members(extra_files="*.nothing") == {}
    assert caplog.messages == ["Given wildcard pattern did not match any file: *.nothing"]


def test_name_with_pattern_characters_that_exists_is_meant_literally(project: Path) -> None:
    (project / "w[1].bin").write_text("w")
    assert list(members(extra_files="w[1].bin")) == ["w[1].bin"]


def test_blanks_and_empty_entries_of_the_list_do_not_matter(project: Path) -> None:
    assert list(members(extra_files=" one.json , ,two.json,")) == ["one.json", "two.json"]


def test_later_wins_on_equal_names_and_says_so(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (project / "d/h.py").write_text("other")
    assert members(handler="src/h.py", extra_files="d/h.py") == {"h.py": "d/h.py"}
    assert caplog.messages == ["d/h.py replaces src/h.py in the archive: same name"]


def test_same_file_named_twice_is_no_news(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    members(handler="src/h.py", extra_files="src/h.py,src")
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"handler": "absent.py"}, "File does not exist: absent.py (from --handler)"),
        ({"handler": "no:entry"}, "File does not exist: no.py (from --handler)"),
        ({"model_file": "no.py"}, "File does not exist: no.py (from --model-file)"),
        ({"serialized_file": "no.pt"}, "File does not exist: no.pt (from --serialized-file)"),
        ({"requirements_file": "no"}, "File does not exist: no (from --requirements-file)"),
        ({"config_file": "no"}, "File does not exist: no (from --config-file)"),
        ({"extra_files": "d,no.txt"}, "File does not exist: no.txt (from --extra-files)"),
    ],
)
def test_missing_file_is_named(project: Path, arguments: dict[str, str], message: str) -> None:
    with pytest.raises(MissingFileError) as raised:
        members(**arguments)
    assert str(raised.value) == message


def test_directory_is_no_file(project: Path) -> None:
    with pytest.raises(InvalidInputError, match="Not a regular file: d "):
        members(serialized_file="d")


def test_special_file_is_no_extra_file(project: Path) -> None:
    os.mkfifo("pipe")
    with pytest.raises(InvalidInputError, match="Invalid extra file given pipe"):
        members(extra_files="pipe")


def test_special_file_and_dangling_link_in_a_directory_are_left_out_with_a_warning(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    os.mkdir("odd")
    os.mkfifo("odd/pipe")
    os.symlink("nowhere", "odd/dangling")
    assert members(extra_files="odd") == {}
    assert caplog.messages == [
        "Left out, not a regular file: odd/dangling",
        "Left out, not a regular file: odd/pipe",
    ]


def test_links_are_followed(project: Path) -> None:
    os.makedirs("linked/inner")
    os.symlink(project / "extra.txt", "linked/inner/file.txt")
    os.symlink(project / "d/sub", "linked/tree")
    assert list(members(extra_files="linked")) == [
        "inner/file.txt",
        "tree/deep.txt",
        "tree/deeper/still.txt",
    ]


def test_link_that_never_ends_is_refused(project: Path) -> None:
    os.symlink("..", "d/sub/loop")
    with pytest.raises(InvalidInputError, match="Symbolic link to a directory around it: d/sub/lo"):
        members(extra_files="d")


def test_sub_directory_from_two_extra_directories_is_refused(project: Path) -> None:
    (project / "other/sub").mkdir(parents=True)
    (project / "other/sub/x").write_text("x")
    with pytest.raises(MemberConflictError, match="Directory sub exists in the archive already"):
        members(extra_files="d,other")


def test_name_of_a_file_and_a_directory_is_refused(project: Path) -> None:
    (project / "sub").write_text("a file")
    with pytest.raises(MemberConflictError, match=r"sub is a file \(sub\) and a directory"):
        members(extra_files="sub,d")


def test_foreign_manifest_is_left_out(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    os.makedirs("unpacked/MAR-INF")
    Path("unpacked/MAR-INF/MANIFEST.json").write_text("{}")
    Path("unpacked/MAR-INF/more.txt").write_text("")
    assert list(members(extra_files="unpacked")) == ["MAR-INF/more.txt"]
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("archive_format", ["default", "no-archive"])
def test_archive_does_not_contain_itself(
    project: Path, archive_format: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    (project / "out/a").mkdir(parents=True)
    (project / "out/a/old.txt").write_text("old")
    (project / "out/a.mar").write_text("old")
    found = members(extra_files=".", export_path="out", archive_format=archive_format)
    kept, left = ("out/a/old.txt", "out/a.mar")[:: 1 if archive_format == "default" else -1]
    assert kept in found
    assert left not in found
    assert any("cannot contain itself" in message for message in caplog.messages)
