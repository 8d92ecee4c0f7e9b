"""Copies that are planted of a run's own images are looked for by the run's own rule, and what is counted adds up."""

import json

import pytest
from PIL import Image
from scipy.stats import binomtest

import curation.report.trial as trial
from curation.engine.progress import Quiet
from curation.errors import ArgumentError
from curation.imaging.pictures import Comparison
from curation.report.detection import DetectionPower, EditPower, check_plant, detection_text, measure_detection
from curation.report.planted import PLANTED, planted_copies
from curation.run.directory import Run
from curation.run.parts import random_for
from pipelines.cli import main
from pipelines.decontaminate import decontaminate
from pipelines.dedup import dedup
from pipelines.demo.photographs import open_photograph

PHOTOS = ("astronaut", "cat", "coffee", "rocket", "motorcycle", "pagoda", "flower", "coins")
EASY = ("re-encode", "crop", "mirror", "text", "sticker")
FREE = {"max_share": 1.0, "max_group": 1.0}
INLINE = {"runner": {"kind": "inline"}, "dedup": FREE}


@pytest.fixture(scope="module")
def folder(encoded, tmp_path_factory):
    """Photographs, one of them twice."""
    root = tmp_path_factory.mktemp("photographs")
    for name in PHOTOS:
        image = Image.fromarray(open_photograph(name).pixels).convert("RGB")
        image.thumbnail((400, 400))
        (root / f"{name}.jpg").write_bytes(encoded(image, quality=92))
    (root / "again.jpg").write_bytes(encoded(image, quality=60))
    return root


@pytest.fixture(scope="module")
def out(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("dedup") / "out"
    dedup(str(folder), str(out), action="list", settings=INLINE, plant=8)
    return out


def run_of(out):
    return Run.load(str(out / "run"))


def test_most_copies_of_photographs_are_found_and_none_is_linked_to_another(out):
    power = measure_detection(run_of(out), 8, Quiet())
    assert (power.of, power.images, power.copies) == ("pool", 3, 30)  # one in four of nine images
    found = {edit.edit: edit.found for edit in power.edits}
    assert list(found) == list(PLANTED)
    assert sum(found[edit] for edit in EASY) >= 0.8 * len(EASY) * power.images
    assert power.false_links == []


def test_the_report_says_it_and_the_same_settings_give_the_same(out):
    report = json.loads((out / "dedup.json").read_text())["detection_power"]
    run = run_of(out)
    power = measure_detection(run, 8, Quiet())
    assert report == power.to_dict() == DetectionPower.from_dict(report).to_dict()
    assert power.sentence in (out / "dedup.html").read_text()
    run.store.remove("report/detection.json")
    assert measure_detection(run, 8, Quiet()) == power


def test_what_was_measured_is_kept_until_something_changes(out, monkeypatch):
    run = run_of(out)
    power = measure_detection(run, 8, Quiet())
    monkeypatch.setattr("curation.report.detection.Trial", None)
    assert measure_detection(run, 8, Quiet(), readable=False) == power
    assert measure_detection(run, 0, Quiet()) is None
    assert measure_detection(run, 7, Quiet(), readable=False) is None
    run.store.write_bytes("report/detection.json", b"[]")
    with pytest.raises(TypeError):
        measure_detection(run, 8, Quiet())
    monkeypatch.undo()
    assert measure_detection(run, 8, Quiet()) == power


def test_links_to_other_images_are_counted(out, monkeypatch):
    always = Comparison(1.0, 0.5, 99, 1.0, False, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
    monkeypatch.setattr(trial, "compare", lambda *_: always)
    run = run_of(out)
    run.config = run.config.model_copy(update={"dedup": run.config.dedup.model_copy(update={"candidate_above": -1.0})})
    targets = trial.Trial(run, True)._targets
    outcomes = trial.Trial(run, True).outcomes(1, Quiet())
    assert [outcome.found for outcome in outcomes] == [True] * len(PLANTED)
    for outcome in outcomes:
        assert outcome.source in targets.ids
        assert outcome.source not in outcome.false
    assert any(outcome.false for outcome in outcomes)


def test_of_a_benchmark_copies_are_planted_of_its_images(folder, out, tmp_path):
    certificate = decontaminate(
        str(folder), [str(folder)], str(tmp_path / "out"), settings=INLINE, action="list", plant=2
    )
    power = certificate.detection_power
    assert (power.of, power.images) == ("references", 2)
    assert power.found >= len(EASY)
    assert f"Of 20 copies planted of 2 reference images, {power.found} were found" in power.sentence
    ids = set(trial.Trial(run_of(tmp_path / "out"), False)._targets.ids)
    assert {source for source, _, _ in power.false_links} <= ids


def test_without_a_look_similarity_decides(folder, tmp_path):
    settings = {
        **INLINE,
        "copy_descriptors": {"model": "classical/hog-colour-4x4"},
        "dedup": {**FREE, "verify": "off", "self": {"threshold": 0.999}},
    }
    strict = dedup(str(folder), str(tmp_path / "out"), action="list", settings=settings, plant=2).detection_power
    settings["dedup"]["self"]["threshold"] = -0.999
    loose = dedup(str(folder), str(tmp_path / "out"), action="list", settings=settings, plant=2).detection_power
    assert strict.found < loose.found == loose.copies == strict.copies == 20


def test_intervals_are_those_of_clopper_and_pearson():
    for found, copies in ((0, 60), (7, 60), (60, 60), (1, 1)):
        exact = binomtest(found, copies).proportion_ci(0.95, "exact")
        assert EditPower("crop", "", copies, found).interval == pytest.approx((exact.low, exact.high))
    clean = DetectionPower("pool", 60, [EditPower("crop", "", 60, 50)], [])
    assert clean.false_bound == pytest.approx(binomtest(0, 60, alternative="less").proportion_ci(0.95, "exact").high)
    assert "None was linked to another image: with 95 % certainty" in clean.sentence
    dirty = DetectionPower("pool", 60, clean.edits, [("a", "crop", "b"), ("a", "crop", "c"), ("a", "pad", "b")])
    assert (dirty.false_copies, dirty.false_images) == (2, 1)
    assert "2 were linked to another image than their own, of 1 of the images" in dirty.sentence
    assert "50" in detection_text(dirty)
    assert detection_text(None) == "detection power: not measured"


def test_equal_seeds_plant_equal_copies(photo):
    first, again = (list(planted_copies(photo(1), random_for(0, "detection", "a"))) for _ in range(2))
    assert first == again
    assert [name for name, _ in first] == list(PLANTED)
    assert first != list(planted_copies(photo(1), random_for(1, "detection", "a")))


def test_fewer_than_none_cannot_be_planted():
    with pytest.raises(ArgumentError, match="plant -1: should be 0 or more"):
        check_plant(-1)


def test_the_page_of_thresholds_and_its_command_show_it(out, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["lvd", "thresholds", str(out / "run"), "--filter", "dedup", "--plant", "8"])
    with pytest.raises(SystemExit, match="0"):
        main()
    sentence = measure_detection(run_of(out), 8, Quiet()).sentence
    assert f"detection power: {sentence}" in capsys.readouterr().out
    page = (out / "run" / "report" / "thresholds-dedup.html").read_text()
    assert sentence in page
    assert all(f"<td>{edit}</td>" in page for edit in PLANTED)
    monkeypatch.setattr("sys.argv", ["lvd", "thresholds", str(out / "run"), "--filter", "dedup", "--plant", "-1"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert capsys.readouterr().err == "lvd: --plant -1: should be 0 or more; 0 plants no copies\n"
