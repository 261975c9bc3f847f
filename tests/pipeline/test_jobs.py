import errno
import os
import pickle
from pathlib import Path

import pytest

from denoise_cli.errors import DenoiseError, UnwritableFile, UsageError
from denoise_cli.pipeline.jobs import Job, Shard, check, plan
from denoise_cli.pipeline.names import Template


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, empty, so that names in it are short."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(*names: str) -> list[str]:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    return list(names)


def targets(jobs: list[Job]) -> dict[str, str]:
    return {str(job.source): str(job.target) for job in jobs}


@pytest.mark.usefixtures("folder")
class TestPairs:
    """RAW and JPEG of the same name in one folder."""

    def test_they_become_files_of_their_own_formats(self) -> None:
        made("in/a.dng", "in/a.jpg")

        assert targets(plan(["in"], "out/")) == {"in/a.dng": "out/a.png", "in/a.jpg": "out/a.jpg"}

    def test_in_one_format_the_other_keeps_its_extension_too(self) -> None:
        made("in/a.dng", "in/a.JPG", "in/b.dng", "in/c.jpg", "in/sub/a.dng")

        jobs = plan(["in"], "out/", recursive=True, kind="jpeg")

        assert targets(jobs) == {
            "in/a.JPG": "out/a.JPG",
            "in/a.dng": "out/a.jpg",
            "in/b.dng": "out/b.jpg",
            "in/c.jpg": "out/c.jpg",
            "in/sub/a.dng": "out/sub/a.jpg",
        }
        assert targets(plan(made("d/x.dng", "d/x.jpg"), "out/", kind="jpeg")) == {
            "d/x.dng": "out/x.dng.jpg",
            "d/x.jpg": "out/x.jpg",
        }

    def test_in_a_third_format_both_keep_their_extensions(self) -> None:
        made("in/a.dng", "in/a.jpg", "in/a.nef")

        assert targets(plan(["in"], "out/", kind="tiff")) == {
            "in/a.dng": "out/a.dng.tif",
            "in/a.jpg": "out/a.jpg.tif",
            "in/a.nef": "out/a.nef.tif",
        }

    def test_only_the_raw_files_of_a_folder_become_dngs_and_a_line_counts_the_others(self) -> None:
        made("in/a.cr2", "in/a.jpg", "in/b.NEF", "in/c.png", "in/sub/d.dng", "in/sub/d.JPG")
        heard: list[str] = []

        jobs = plan(["in"], "out/", kind="dng", notice=heard.append)

        assert targets(jobs) == {"in/a.cr2": "out/a.dng", "in/b.NEF": "out/b.dng"}
        assert heard == ["in: left out 2 photos: a DNG is made only from camera RAW"]
        plan(["in/sub"], None, kind="dng", notice=heard.append)
        assert heard[1:] == ["in/sub: left out 1 photo: a DNG is made only from camera RAW"]
        assert plan(["in"], "out/", recursive=True, kind="dng", notice=None)[2].source == Path("in/sub/d.dng")

    def test_a_photo_that_is_named_is_not_left_out(self) -> None:
        assert targets(plan(made("a.cr2", "a.tif"), "out/", kind="dng")) == {
            "a.cr2": "out/a.cr2.dng",
            "a.tif": "out/a.tif.dng",
        }

    def test_a_folder_without_raw_files_becomes_no_dngs(self) -> None:
        made("in/a.jpg")

        with pytest.raises(UsageError, match=r"^in: holds no camera RAW, which a DNG is made from: add --recursive"):
            plan(["in"], "out/", kind="dng")

    def test_the_same_beside_the_photos(self) -> None:
        assert targets(plan(made("a.dng", "a.png", "b.dng"), None)) == {
            "a.dng": "a.dng-denoised.png",
            "a.png": "a-denoised.png",
            "b.dng": "b-denoised.png",
        }


@pytest.mark.usefixtures("folder")
def test_photos_of_one_name_from_two_folders_are_rivals_and_others_are_not() -> None:
    jobs = plan(made("one/a.png", "two/a.png", "two/a.dng", "two/b.png"), "out/")

    assert [job.rival for job in jobs] == [Path("two/a.png"), Path("one/a.png"), None, None]
    assert str(jobs[2].target) == "out/a.dng.png"
    with pytest.raises(UnwritableFile, match=r"^one/a.png: would become out/a.png, and so would two/a.png: write them"):
        check(jobs[0], overwrite=True)
    check(jobs[3], overwrite=False)


@pytest.mark.usefixtures("folder")
def test_a_longer_name_that_another_photo_has_makes_rivals() -> None:
    jobs = plan(made("a.dng", "a.png", "a.dng.png"), "out/")

    assert {str(job.source): job.rival and str(job.rival) for job in jobs} == {
        "a.dng": "a.dng.png",
        "a.png": None,
        "a.dng.png": "a.dng",
    }


@pytest.mark.usefixtures("folder")
def test_a_photo_that_is_named_twice_is_denoised_once() -> None:
    made("in/a.png", "in/b.png")

    assert targets(plan(["in", "in/a.png", "./in/b.png"], "out/")) == {"in/a.png": "out/a.png", "in/b.png": "out/b.png"}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("target", "kind", "extension"),
    [("y.dng", "png", ".png"), ("y.PNG", "jpeg", ".jpg"), ("y.tif", "dng", ".dng"), ("y.heic", "webp", ".webp")],
)
def test_a_name_that_stands_for_another_format_is_refused(target: str, kind: str, extension: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan(made("x.dng"), target, kind=kind)

    expected = f"{target}: contradicts --format {kind}: name a {extension} file, or leave out --format"
    assert str(caught.value) == expected


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("target", "kind"), [("y.JPE", "jpeg"), ("y", "png"), ("y.2024", "tiff"), ("-", "webp")])
def test_a_name_that_stands_for_no_other_format_gets_the_one_that_is_asked_for(target: str, kind: str) -> None:
    assert plan(made("x.dng"), target, kind=kind) == [Job(Path("x.dng"), Path(target), kind, below=Path("x.dng"))]


@pytest.mark.usefixtures("folder")
class TestFolders:
    def test_one_that_may_not_be_read_is_a_failure_and_the_rest_is_done(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made("in/a.png", "in/closed/b.png", "in/open/c.png")
        scandir = os.scandir

        def refusing(path: str) -> object:  # permissions do not stop root, who may run this test
            if Path(path).name == "closed":
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refusing)
        jobs = plan(["in"], "out/", recursive=True)

        assert {str(job.source) for job in jobs} == {"in/a.png", "in/closed", "in/open/c.png"}
        with pytest.raises(DenoiseError, match=r"^in/closed: cannot read: Permission denied$"):
            check(jobs[0], overwrite=False)

    def test_results_of_an_earlier_run_are_left_out(self) -> None:
        made("in/a.png", "in/a-denoised.jpg", "in/b.dng", "in/b.dng-denoised.png", "in/alone-denoised.png")
        heard: list[str] = []

        jobs = plan(["in"], None, notice=heard.append)

        assert targets(jobs) == {
            "in/a.png": "in/a-denoised.png",
            "in/b.dng": "in/b-denoised.png",
            "in/alone-denoised.png": "in/alone-denoised-denoised.png",  # its photo is not here: it is one itself
        }
        assert heard == ["in: left out 2 photos: results of others here: name them to denoise them again"]

    @pytest.mark.parametrize("output", ["in/out/", "./in/out/"])
    def test_the_folder_for_the_results_is_left_out(self, output: str) -> None:
        made("in/a.png", "in/sub/b.png", "in/out/a.png", "in/out/sub/b.png", "in/other/out/c.png")

        jobs = plan(["in"], output, recursive=True)

        assert {str(job.source) for job in jobs} == {"in/a.png", "in/sub/b.png", "in/other/out/c.png"}

    def test_files_that_systems_leave_are_no_photos(self) -> None:
        made("in/a.png", "in/._a.png", "in/.#a.png", "in/Thumbs.db")
        heard: list[str] = []

        assert targets(plan(["in"], "out/")) == {"in/a.png": "out/a.png"}
        assert len(plan(["in/a.png", "in/Thumbs.db", "in/._a.png"], "out/", notice=heard.append)) == 1
        assert [line.partition(":")[0] for line in heard] == ["in/Thumbs.db", "in/._a.png"]


@pytest.mark.usefixtures("folder")
def test_no_result_takes_the_place_of_another_photo() -> None:
    jobs = plan(made("a.png", "a-denoised.png", "b.png"), None)

    with pytest.raises(DenoiseError, match=r"^a-denoised.png: is the input a-denoised.png: choose another"):
        check(jobs[0], overwrite=True)
    check(jobs[2], overwrite=True)


@pytest.mark.usefixtures("folder")
class TestTemplates:
    def test_they_name_results_beside_photos_and_in_folders(self) -> None:
        made("in/a.jpg", "in/sub/b.dng")

        def named(text: str, output: str | None, kind: str | None = None) -> dict[str, str]:
            return targets(plan(["in"], output, recursive=True, kind=kind, name=Template(text)))

        assert named("{stem}-clean{ext}", None) == {
            "in/a.jpg": "in/a-clean.jpg",
            "in/sub/b.dng": "in/sub/b-clean.png",
        }
        assert named("{folder}/{stem}.tif", "out/") == {
            "in/a.jpg": "out/in/a.tif",
            "in/sub/b.dng": "out/sub/sub/b.tif",
        }
        assert {job.kind for job in plan(["in"], "out/", name=Template("{stem}.tif"))} == {"tiff"}

    def test_inputs_that_collide_keep_their_extensions_and_only_those_that_still_do_are_refused(self) -> None:
        made("one/a.jpg", "one/a.png", "two/a.jpg", "two/b.jpg")
        inputs = ["one", "two"]

        jobs = plan(inputs, "out/", name=Template("{stem}-x.png"))
        assert [str(job.target) for job in jobs if job.rival is None] == ["out/a-x.png", "out/b-x.png"]
        assert [str(job.source) for job in jobs if job.rival] == ["one/a.jpg", "two/a.jpg"]
        apart = plan(inputs, "out/", name=Template("{folder}-{stem}{ext}"))
        assert len({job.target for job in apart}) == 4
        assert not any(job.rival for job in apart)

    def test_their_results_are_left_out_the_next_time(self) -> None:
        made("in/a.jpg", "in/a-clean.jpg", "in/b.dng", "in/b-clean.png", "in/lone-clean.png")
        heard: list[str] = []

        jobs = plan(["in"], None, name=Template("{stem}-clean{ext}"), notice=heard.append)

        assert [str(job.source) for job in jobs] == ["in/a.jpg", "in/b.dng", "in/lone-clean.png"]
        assert heard == ["in: left out 2 photos: results of others here: name them to denoise them again"]

    def test_a_date_that_cannot_be_found_out_is_an_obstacle_of_its_photo_alone(self) -> None:
        jobs = plan([*made("a.jpg"), "none.jpg"], "out/", name=Template("{date}-{stem}{ext}"))

        assert [job.obstacle for job in jobs] == [None, "none.jpg: cannot read: No such file or directory"]

    def test_a_file_has_a_name_already(self) -> None:
        with pytest.raises(UsageError, match=r"^b.jpg: --name is for results in a folder, or beside their photos"):
            plan(made("a.jpg"), "b.jpg", name=Template("{stem}{ext}"))


@pytest.mark.usefixtures("folder")
def test_results_in_the_place_of_their_photos_keep_these() -> None:
    jobs = plan(made("a.jpg", "b.dng", "c.cr2"), None, backup=".orig")

    assert [(str(job.target), str(job.backup), job.kind) for job in jobs[:2]] == [
        ("a.jpg", "a.jpg.orig", "jpeg"),
        ("b.dng", "b.dng.orig", "dng"),
    ]
    with pytest.raises(DenoiseError, match=r"^c.cr2: cannot write .cr2: choose one of"):
        check(jobs[2], overwrite=False)
    check(jobs[0], overwrite=False)
    Path("a.jpg.orig").write_bytes(b"another")
    with pytest.raises(
        UnwritableFile, match=r"^a.jpg: not replaced: its backup a.jpg.orig exists already and holds something else"
    ):
        check(jobs[0], overwrite=True)


@pytest.mark.usefixtures("folder")
def test_shares_have_every_photo_once_wherever_the_folder_is() -> None:
    names = [f"sub{i % 3}/{i}.jpg" for i in range(60)]
    made(*(f"here/{name}" for name in names), *(f"there/deep/{name}" for name in names))

    def share(folder: str, index: int, count: int) -> set[str]:
        jobs = plan([folder], "out/", recursive=True, shard=Shard(index, count))
        assert all(job.source == Path(folder) / job.below for job in jobs)
        return {str(job.below) for job in jobs}

    shares = [share("here", index, 4) for index in (1, 2, 3, 4)]
    assert sorted(name for each in shares for name in each) == sorted(names)
    assert all(5 <= len(each) <= 25 for each in shares)
    assert [share("there/deep", index, 4) for index in (1, 2, 3, 4)] == shares


@pytest.mark.usefixtures("folder")
def test_names_that_collide_do_so_in_every_share() -> None:
    made("in/a.jpg", "in/a.png")
    whole = targets(plan(["in"], "out/", kind="tiff"))

    parts = [targets(plan(["in"], "out/", kind="tiff", shard=Shard(index, 2))) for index in (1, 2)]

    assert parts[0] | parts[1] == whole == {"in/a.jpg": "out/a.jpg.tif", "in/a.png": "out/a.png.tif"}


@pytest.mark.usefixtures("folder")
def test_a_search_leaves_out_what_the_program_keeps_for_itself() -> None:
    made("a.jpg", "a-files/00001-1-1.jpg", "a-files/00001-thumbnail.jpg", ".denoise-0f.parts/new/00001-1-1.jpg")
    made("b.mp4.parts/plan.json", "b.mp4.parts/c.jpg")
    told: list[str] = []

    assert targets(plan(["."], "out/", recursive=True, notice=told.append)) == {"a.jpg": "out/a.jpg"}
    assert told == [
        "a-files: left out: the pictures of a report",
        "b.mp4.parts: left out: the work of a run that was interrupted",
    ]


@pytest.mark.usefixtures("folder")
def test_a_search_takes_photos_in_folders_that_are_only_called_so() -> None:
    names = made("my-files/00001-1-1.jpg", "my-files/a.jpg", "x.parts/c.jpg")

    assert list(targets(plan(["."], "out/", recursive=True))) == names


@pytest.mark.usefixtures("folder")
def test_jobs_are_plain_data() -> None:
    jobs = plan(made("one/a.png", "two/a.png", "c.cr2"), None, backup=".orig") + plan(["one", "two"], "out/")

    assert pickle.loads(pickle.dumps(jobs)) == jobs
