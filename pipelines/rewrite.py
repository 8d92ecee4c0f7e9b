"""What `lvd decontaminate` and `lvd dedup` have in common: a dataset is written again without some of its images.

Read `rewrite` from top to bottom. The dataset is the pool of a run, the references are its reference sets, and the
steps up to `dedup` are those of `lvd curate` with every filter off. What follows settles each image, writes the dataset
again without those that go, and says what was done. As there, running the same command again continues.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from curation.config import Config, laid_over, parse_config
from curation.decontaminate import folder
from curation.decontaminate.certificate import FILES, SUSPECTS, Action, Certificate, Job, write_certificate
from curation.decontaminate.certificate_page import page_of, page_pairs
from curation.decontaminate.certify import make_certificate
from curation.decontaminate.pictures import read_pictures, write_pictures
from curation.decontaminate.replace import Check, Replace, check_replaceable, is_replaced, mark_replaced
from curation.decontaminate.source import Source, open_source
from curation.decontaminate.suspects import SuspectList, check_lists, find_suspects, open_lists
from curation.decontaminate.verdicts import Unreadable, settle
from curation.decontaminate.write import Write
from curation.engine import graph
from curation.engine.execution import Execution
from curation.engine.progress import Progress, Quiet
from curation.engine.runner import open_runner
from curation.engine.work import TableWork
from curation.errors import ArgumentError, ConfigError, RunError
from curation.formats.dataset import Kind
from curation.formats.fingerprints import is_fingerprints
from curation.pipeline import DECONTAMINATE
from curation.report.detection import check_plant, measure_detection
from curation.report.thumbnails import Thumbnails, make_thumbnails
from curation.run.directory import Run
from curation.run.parts import Collection, Ledger
from curation.run.store import Store, is_url
from pipelines.curate import check_inputs
from pipelines.names import named

__all__ = ["rewrite", "settings_of", "split_against"]

SECTIONS = ("seed", "parts", "runner", "image", "hash", "copy_descriptors", "dedup")
"""What `settings` may change: the rest of a config has no bearing on these jobs."""
RUN, DATA = "run", "data"


def rewrite(
    job: Job,
    config: Config,
    out: str,
    *,
    action: Action,
    unreadable: Unreadable,
    link: bool,
    plant: int,
    report: Progress | None,
    fingerprints: Sequence[str] = (),
) -> Certificate:
    """Do a job, or continue to.

    Args:
        config: as `settings_of` makes it.
        plant: images that copies are planted of, to say how many would be found.
        fingerprints: files of fingerprints; what they find is listed and stays.

    Raises:
        UserError: something that the user can fix; what is finished stays, and nothing is overwritten.
        PartsFailed: some parts could not be made; all others are.
    """
    if unreadable not in get_args(Unreadable):
        raise ArgumentError("unreadable", unreadable, f"should be {' or '.join(get_args(Unreadable))}")
    check_plant(plant)
    source = open_source(config.pool[0])
    for item in config.references:
        open_source(item.data)
    if action == "in-place":
        check_replaceable(source)
    _check_out(Store(out), source, job)
    run = Run(f"{out.rstrip('/')}/{RUN}", config)
    check_inputs(graph.Job(run, DECONTAMINATE))
    lists = open_lists(named(fingerprints))
    check_lists(run, lists)
    with run.locked():
        run.begin()
        return _Rewriting(job, run, Store(out), source, action, unreadable, link, plant, report or Quiet(), lists).do()


def settings_of(job: Job, dataset: str, against: Sequence[str], changes: Mapping[str, Any]) -> Config:
    """The settings of a run that compares a dataset with references, or with itself, and does nothing else.

    Raises:
        ConfigError: a change names a setting that has no bearing on the job.
    """
    command = f"lvd {job}"
    if others := [name for name in changes if name not in SECTIONS]:
        raise ConfigError(f"{others[0]}: no setting of {command}; those begin with {', '.join(SECTIONS)}")
    values: dict[str, Any] = {
        "pool": [dataset],
        "seeds": [],
        "references": [{"name": name, "data": data} for name, data in named(against)],
        "quality": {"on": []},
        "safety": {"nsfw": "off", "faces": "keep"},
        "image": {"min_side": 1, "metadata": "keep"},
        "dedup": {"self": {"enabled": job == "dedup"}},
    }
    config = parse_config(laid_over(values, changes), where=command)
    if config.image.metadata != "keep" or config.image.max_side is not None:
        raise ConfigError(f"image: metadata and max_side change images; {command} carries them as they are")
    return config


def split_against(against: Sequence[str]) -> tuple[list[str], list[str]]:
    """The reference sets of what a dataset is compared with, and its files of fingerprints."""
    files = [data for data in against if is_fingerprints(data)]
    return [data for data in against if data not in files], files


def _check_out(out: Store, source: Source, job: Job) -> None:
    """Refuse a folder that holds something else, or that is part of the dataset."""
    result = [*out.names(), *out.folders()]
    own = {RUN, DATA, f"{FILES[job]}.json", f"{FILES[job]}.html", "removed.jsonl", SUSPECTS}
    strangers = sorted(set(result) - own)
    if strangers or (result and not out.exists(f"{RUN}/config.yaml")):
        what = (strangers or sorted(result))[0]
        raise RunError(f"{out.root}: is not empty and holds no run of lvd {job} ({what}); choose another `out`")
    if out.is_local and not is_url(source.data):
        inside = os.path.realpath(out.path())
        for file in source.files:
            if os.path.isdir(file) and os.path.commonpath([inside, os.path.realpath(file)]) == os.path.realpath(file):
                raise RunError(f"{out.root}: lies inside the dataset {source.data}; choose another `out`")


@dataclass
class _Rewriting:
    """One call of a job: what it works on and what it is to do."""

    job: Job
    run: Run
    out: Store
    source: Source
    action: Action
    unreadable: Unreadable
    link: bool
    plant: int
    report: Progress
    lists: Sequence[SuspectList]

    def do(self) -> Certificate:
        self._check_earlier()
        with open_runner(self.run.config.runner) as runner:
            execution = Execution(graph.Job(self.run, DECONTAMINATE), runner, self.report)
            execution.do()
            replaced = is_replaced(self._clean)
            settle(self.run.pool, self._clean, self.source, self.unreadable, is_replaced=replaced)
            power = measure_detection(self.run, self._planted, self.report, readable=not replaced)
            certificate = replace(self._certify(is_replaced=replaced), detection_power=power)
            exhibits = self._exhibit(certificate)  # before shards are rewritten in place
            self._write(execution)
        certificate = certificate.with_written(self._clean)
        write_certificate(self.out, certificate)
        self.out.write_bytes(certificate.page, page_of(certificate, exhibits).encode())
        return certificate

    def _check_earlier(self) -> None:
        """What an earlier call did with this run must go together with what this one is to do."""
        if is_replaced(self._clean) and self.action != "in-place":
            raise RunError(f"{self.out.root}: this run rewrites the dataset in place; choose another `out`")
        if self.action != "write" and self.out.folders(DATA) + self.out.names(DATA):
            raise RunError(f"{self.out.root}: holds a dataset that this run wrote; choose another `out`")

    @property
    def _planted(self) -> int:
        """Images that copies are planted of: none where the dataset is compared with fingerprints alone."""
        return self.plant if self.run.config.references or self.job == "dedup" else 0

    def _certify(self, *, is_replaced: bool) -> Certificate:
        passed_over = folder.passed_over(self.source.files[0]) if self.source.kind is Kind.FOLDER else {}
        hits = find_suspects(self.run, self.lists, self.report, readable=not is_replaced)
        told = (self.action, self.unreadable, passed_over)
        return make_certificate(self.run, self._clean, self.source, *told, job=self.job, lists=self.lists, hits=hits)

    def _exhibit(self, certificate: Certificate) -> Thumbnails:
        """What the page shows of the images; kept in the run."""
        pairs, stored = page_pairs(certificate), read_pictures(self.run)
        with self.report.stage("certificate", sum(1 + len(others) for others in pairs.values())) as bar:
            made = make_thumbnails(self.run, pairs, stored, lambda images: bar.advance(images, Ledger(images, images)))
        if made != stored:
            write_pictures(self.run, made)
        return made

    def _write(self, execution: Execution) -> None:
        """The clean dataset: each part that is not there yet."""
        stage: Write | Replace
        if self.action == "list":
            return
        if self.action == "in-place":
            if self.job == "dedup" and not is_replaced(self._clean):
                checks = Check(self._clean, self.source)
                execution.run_parts("check", [TableWork(self._clean, checks, self.run.config.seed)])
            mark_replaced(self._clean)
            stage = Replace(self._clean, self.source)
        else:
            stage = Write(self._clean, self.source, Store(f"{self.out.root}/{DATA}"), link=self.link)
        execution.run_parts("write", [TableWork(self._clean, stage, self.run.config.seed)])

    @property
    def _clean(self) -> Collection:
        return self.run.collection("clean")
