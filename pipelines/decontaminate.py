"""The second job: a dataset without copies of reference images, such as a benchmark's test set, and a certificate.

Read `decontaminate` from top to bottom. The dataset is the pool of a run, the references are its reference sets, and
the steps up to `dedup` are those of `lvd curate` with every filter off. What follows settles each image, writes the
dataset again without those that go, and says what was done. As there, running the same command again continues.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from curation.config import Config, laid_over, parse_config
from curation.decontaminate import folder
from curation.decontaminate.certificate import Action, Certificate, write_certificate
from curation.decontaminate.certificate_page import page_of, page_pairs
from curation.decontaminate.certify import make_certificate
from curation.decontaminate.pictures import read_pictures, write_pictures
from curation.decontaminate.replace import Replace, check_replaceable, is_replaced, mark_replaced
from curation.decontaminate.source import Source, open_source
from curation.decontaminate.verdicts import Unreadable, settle
from curation.decontaminate.write import Write
from curation.engine.execution import Execution
from curation.engine.graph import Job
from curation.engine.progress import Progress, Quiet
from curation.engine.runner import open_runner
from curation.engine.work import TableWork
from curation.errors import ArgumentError, ConfigError, RunError
from curation.formats.dataset import Kind
from curation.pipeline import DECONTAMINATE
from curation.report.thumbnails import Thumbnails, make_thumbnails
from curation.run.directory import Run
from curation.run.parts import Collection, Ledger
from curation.run.store import Store, is_url
from pipelines.curate import check_inputs
from pipelines.names import named

__all__ = ["decontaminate", "settings_for"]

SECTIONS = ("seed", "parts", "runner", "image", "hash", "copy_descriptors", "dedup")
"""What `settings` may change: the rest of a config has no bearing on this job."""
RUN, DATA = "run", "data"
FILES = (RUN, DATA, "certificate.json", "certificate.html", "removed.jsonl")


def decontaminate(
    dataset: str,
    against: Sequence[str],
    out: str,
    *,
    settings: Mapping[str, Any] | None = None,
    action: Action = "write",
    unreadable: Unreadable = "keep",
    link: bool = True,
    report: Progress | None = None,
) -> Certificate:
    """Find and remove the images of a dataset that are copies of reference images, or continue to.

    Args:
        dataset: a folder of images, WebDataset tars, or Parquet files with images.
        against: reference sets, each of any of these kinds.
        action: write the dataset again without copies, only list them, or rewrite shards in place.
        out: a folder for the clean dataset (`data/`), the certificate, and the work files (`run/`).
        settings: what differs from the defaults, nested as in a config file: `{"dedup": {"verify": "off"}}`.
        unreadable: what becomes of files that no decoder takes, and that can thus not be compared.
        link: hard links instead of copies, where a file is carried whole and the file system can.

    Raises:
        UserError: something that the user can fix; what is finished stays, and nothing is overwritten.
        PartsFailed: some parts could not be made; all others are.
    """
    if unreadable not in get_args(Unreadable):
        raise ArgumentError("unreadable", unreadable, f"should be {' or '.join(get_args(Unreadable))}")
    config = settings_for(dataset, against, settings or {})
    source = open_source(dataset)
    for item in config.references:
        open_source(item.data)
    if action == "in-place":
        check_replaceable(source)
    _check_out(Store(out), source)
    run = Run(f"{out.rstrip('/')}/{RUN}", config)
    check_inputs(Job(run, DECONTAMINATE))
    with run.locked():
        run.begin()
        return _Decontamination(run, Store(out), source, action, unreadable, link, report or Quiet()).do()


def settings_for(dataset: str, against: Sequence[str], changes: Mapping[str, Any]) -> Config:
    """The settings of a run that compares a dataset with references and does nothing else.

    Raises:
        ConfigError: there is no reference, or a change names a setting that has no bearing on this job.
    """
    if not against:
        raise ConfigError("`against`: missing; name the images that must not be in the dataset")
    if others := [name for name in changes if name not in SECTIONS]:
        raise ConfigError(f"{others[0]}: no setting of lvd decontaminate; those begin with {', '.join(SECTIONS)}")
    if isinstance(dedup := changes.get("dedup"), dict) and "self" in dedup:
        raise ConfigError("dedup.self: is about copies within a dataset, which lvd decontaminate leaves alone")
    values: dict[str, Any] = {
        "pool": [dataset],
        "seeds": [],
        "references": [{"name": name, "data": data} for name, data in named(against)],
        "quality": {"on": []},
        "safety": {"nsfw": "off", "faces": "keep"},
        "image": {"min_side": 1, "metadata": "keep"},
        "dedup": {"self": {"enabled": False}},
    }
    config = parse_config(laid_over(values, changes), where="lvd decontaminate")
    if config.image.metadata != "keep" or config.image.max_side is not None:
        raise ConfigError("image: metadata and max_side change images; lvd decontaminate carries them as they are")
    return config


def _check_out(out: Store, source: Source) -> None:
    """Refuse a folder that holds something else, or that is part of the dataset."""
    result = [*out.names(), *out.folders()]
    strangers = sorted(set(result) - set(FILES))
    if strangers or (result and not out.exists(f"{RUN}/config.yaml")):
        what = (strangers or sorted(result))[0]
        raise RunError(f"{out.root}: is not empty and holds no run of lvd decontaminate ({what}); choose another `out`")
    if out.is_local and not is_url(source.data):
        inside = os.path.realpath(out.path())
        for file in source.files:
            if os.path.isdir(file) and os.path.commonpath([inside, os.path.realpath(file)]) == os.path.realpath(file):
                raise RunError(f"{out.root}: lies inside the dataset {source.data}; choose another `out`")


@dataclass
class _Decontamination:
    """One call of `decontaminate`: what it works on and what it is to do."""

    run: Run
    out: Store
    source: Source
    action: Action
    unreadable: Unreadable
    link: bool
    report: Progress

    def do(self) -> Certificate:
        self._check_earlier()
        with open_runner(self.run.config.runner) as runner:
            execution = Execution(Job(self.run, DECONTAMINATE), runner, self.report)
            execution.do()
            replaced = is_replaced(self._clean)
            settle(self.run.pool, self._clean, self.source, self.unreadable, is_replaced=replaced)
            certificate = self._certify()
            exhibits = self._exhibit(certificate)  # before shards are rewritten in place
            self._write(execution)
        certificate = certificate.with_written(self._clean)
        write_certificate(self.out, certificate)
        self.out.write_bytes("certificate.html", page_of(certificate, exhibits).encode())
        return certificate

    def _check_earlier(self) -> None:
        """What an earlier call did with this run must go together with what this one is to do."""
        if is_replaced(self._clean) and self.action != "in-place":
            raise RunError(f"{self.out.root}: this run rewrites the dataset in place; choose another `out`")
        if self.action != "write" and self.out.folders(DATA) + self.out.names(DATA):
            raise RunError(f"{self.out.root}: holds a dataset that this run wrote; choose another `out`")

    def _certify(self) -> Certificate:
        passed_over = folder.passed_over(self.source.files[0]) if self.source.kind is Kind.FOLDER else {}
        return make_certificate(self.run, self._clean, self.source, self.action, self.unreadable, passed_over)

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
            mark_replaced(self._clean)
            stage = Replace(self._clean, self.source)
        else:
            stage = Write(self._clean, self.source, Store(f"{self.out.root}/{DATA}"), link=self.link)
        execution.run_parts("write", [TableWork(self._clean, stage, self.run.config.seed)])

    @property
    def _clean(self) -> Collection:
        return self.run.collection("clean")
