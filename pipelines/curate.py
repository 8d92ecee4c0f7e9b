"""The main job: from a pool, seeds and references to a curated dataset of WebDataset shards.

Read `curate` from top to bottom: each line is a step, and each step looks at the files of the run to see what it still
has to do. Running the same command again therefore continues a run that was stopped, and does nothing for a run
that is finished.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pyarrow as pa

from curation import __version__
from curation.config import Config, ModelConfig, ReferenceConfig
from curation.engine.contract import PixelStage, SourceStage
from curation.engine.execute import ColumnWork, PartWork, PixelWork
from curation.engine.fit import FitOnSample
from curation.engine.locations import changed_tar
from curation.engine.runner import Runner, Step, Task, open_runner
from curation.errors import ConfigError, DatasetError, UserError
from curation.formats.dataset import detect, link_files, list_rows
from curation.formats.row import tables_of
from curation.formats.shards import MANIFEST, read_manifest, shard_name, sources_of, write_manifest
from curation.models import Embedder, Fittable, open_embedder
from curation.report.funnel import STAGES, funnel
from curation.run.directory import Run
from curation.run.parts import Collection, Ledger
from curation.stages.concepts.clusters import Clusters, FitCentroids
from curation.stages.concepts.embed import Embed, whitening
from curation.stages.concepts.exclude import ExcludeWork
from curation.stages.concepts.hierarchy import FitHierarchy, Hierarchy
from curation.stages.concepts.semantic_dedup import SemanticDedup
from curation.stages.dedup.dedup import Dedup
from curation.stages.dedup.hashes import THUMBNAIL, Hashes, hash_basis
from curation.stages.dedup.local_features import LocalFeaturesWork
from curation.stages.dedup.verify_copies import VerifyCopiesWork
from curation.stages.export.export import ExportWork
from curation.stages.filters.decode import DecodeCheck
from curation.stages.filters.quality import GREY_SIDE, Quality
from curation.stages.filters.safety import Safety, is_active, safety_side
from curation.stages.ingest.dedup_urls import DEDUP_URLS, find_repeats
from curation.stages.ingest.extract_urls import EXTRACT_URLS, ExtractUrlsWork, listed_links
from curation.stages.ingest.fetch import Fetch
from curation.stages.ingest.list import append_parts
from curation.stages.ingest.originals import remove_originals
from curation.stages.ingest.retry import RetryWork
from curation.stages.knn.bias import BIAS, Bias, FitBackground, Offsets
from curation.stages.knn.knn import COPY_KNN, EMBEDDING_KNN, SEED_KNN, KnnWork
from curation.stages.knn.pool_index import BuildPartition, PoolIndex
from curation.stages.knn.vectors import live_counts
from curation.stages.select.selection import Compose, read_composition
from pipelines.progress import Quiet, Report

__all__ = ["STEPS", "Curation", "check_inputs", "curate"]

STEPS = (*STAGES, "selection", "export")
"""Where `until` can stop, in order."""
ROWS_AT_ONCE = 64
"""Decoded images that wait for a stage where nothing says how many: some may have a hundred megabytes."""


def curate(
    config: Config,
    out: str,
    *,
    until: str | None = None,
    retry_failed: bool = False,
    report: Report | None = None,
) -> Run:
    """Curate a dataset, or continue to; returns the run.

    Args:
        out: the run directory, a local path or any fsspec URL.
        until: the last step to do, one of `STEPS`.
        retry_failed: first try again, once, to fetch what failed for a passing reason, such as a timeout.

    Raises:
        UserError: something that the user can mend; what is finished stays, and nothing is overwritten.
        PartsFailed: some parts could not be made; all others are.
    """
    if until is not None and until not in STEPS:
        raise UserError(f"--until {until}: no such step; the steps are {', '.join(STEPS)}")
    if not config.seeds and config.selection.retrieves:
        raise ConfigError("seeds: there is none; name at least one set of images to find more of")
    steps = STEPS[: STEPS.index(until) + 1] if until else STEPS
    run = Run(out, config)
    check_inputs(run, steps)
    with run.locked():
        run.begin()
        with open_runner(config.runner) as runner:
            if not run.pool.parts("fetch"):
                runner.warm_up()  # starting workers takes seconds, and so may listing
            Curation(run, runner, report or Quiet(), steps, retry_failed).do()
    return run


def check_inputs(run: Run, steps: Sequence[str] = STEPS) -> None:
    """Find datasets, and weights for `steps`, that cannot be had before anything is written."""
    for datasets in run.collections().values():
        for data in datasets:
            detect(data)
    for step, settings in (("copy_descriptors", run.config.copy_descriptors), ("embeddings", run.config.embed)):
        if step in steps:  # opening a network takes seconds, which a crawl alone need not wait for
            open_embedder(settings).fingerprint()
    for path in run.collections():
        if is_active(run.config.safety, run.role(path)):
            Safety(run.config.safety, run.config.image, run.role(path), "decode", side=1)
    Quality(run.config.quality, "decode", side=1)


@dataclass
class Curation:
    """The job over one run, as far as its steps go: what `curate` does, and other jobs up to `dedup`."""

    run: Run
    runner: Runner
    report: Report
    steps: Sequence[str]
    retry_failed: bool

    def do(self) -> None:
        self._list()
        for name, step in (
            ("fetch", self._bring_in),
            ("decode", self._look),
            ("copy_knn", self._deduplicate),
            ("embeddings", self._embed),
            ("exclude", self._exclude),
            ("embedding_knn", self._thin_out),
            ("clusters", self._cluster),
            ("hierarchy", self._grow_tree),
            ("seed_knn", self._retrieve),
            ("selection", self._select),
            ("export", self._export),
            ("export", self._remove_originals),
        ):
            if name in self.steps:
                step()

    # -- steps ---------------------------------------------------------------------------------------------------

    def _list(self) -> None:
        """What is there: the rows of every collection, cut into parts."""
        for path, datasets in self.run.collections().items():
            collection = self.run.collection(path)
            urls = [data for data in datasets if detect(data).has_urls]
            at_hand = (list_rows(data) for data in datasets if data not in urls)
            tables = itertools.chain(*map(tables_of, at_hand), self._crawl(collection, urls))
            new = append_parts(collection, tables, self.run.config.parts.rows, self.run.config.seed)
            if not new and not collection.parts("list"):
                raise DatasetError(f"{path}: no images found in {', '.join(datasets)}; check that this is the dataset")

    def _crawl(self, collection: Collection, datasets: Sequence[str]) -> Iterator[pa.Table]:
        """URLs out of crawl files and lists, each once, as rows of a listing."""
        if not datasets:
            return
        links = self.run.collection(f"{collection.path}/crawl")
        files = [file for data in datasets for file in link_files(data)]
        work = ExtractUrlsWork(links, files, self.run.config.crawl)
        self._parts(f"{links.path}: links", [work], work.parts())
        find_repeats(links)
        for part in links.parts(DEDUP_URLS.name):
            live = links.read(DEDUP_URLS.name, part, ["live"])["live"]
            yield listed_links(links.read(EXTRACT_URLS.name, part, list(EXTRACT_URLS.schema.names)).filter(live))

    def _bring_in(self) -> None:
        """The bytes: fetched, or found where they lie."""
        seed = self.run.config.seed
        stage = Fetch(self.run.config.crawl, self.run.config.image)
        collections = [self.run.collection(path) for path in self.run.collections()]
        self._parts("fetch", [ColumnWork(collection, stage, seed) for collection in collections])
        if self.retry_failed:
            self._parts("samples again", [RetryWork(collection, stage, seed) for collection in collections])
        for path in self.run.collections():
            self._need_live(path, "fetch")

    def _look(self) -> None:
        """One decode of each image: does it decode, its hash, its copy descriptor; seeds are embedded too."""
        self._forget_filters()
        config = self.run.config
        basis = self._fit_basis() if "hashes" in self.steps and config.hash.method == "pca" else None
        copies = self._fit_whitening("copy_descriptors", self._copy_model) if "copy_descriptors" in self.steps else None
        side = self._look_side
        work: list[PartWork] = []
        for path in self.run.collections():
            stages = self._filters(path)
            after, changed = self._last_filter(path), self._has_safety(path)
            if path == "pool" and "hashes" in self.steps:
                artifact = basis.artifact if basis else None
                stages.append(Hashes(config.hash, artifact, side, after=after, changed=changed))
                after = "hashes"
            if self.run.role(path) in ("pool", "reference") and "copy_descriptors" in self.steps:
                stages.append(self._describe("copy_descriptors", after, self._copy_model, copies, side, changed))
            work.append(self._pixels(self.run.collection(path), stages, config.copy_descriptors, side))
        self._parts("pixels", work)
        for path in self.run.collections():
            self._need_live(path, self._last_filter(path))

    def _filters(self, path: str) -> list[PixelStage | SourceStage]:
        """The first stages of the pass over a collection: does it decode, is it of any use, is it safe."""
        config, side = self.run.config, self._look_side
        stages: list[PixelStage | SourceStage] = [DecodeCheck(config.image)]
        if self._has_quality(path) and "quality" in self.steps:
            stages.append(Quality(config.quality, "decode", side))
        if self._has_safety(path) and "safety" in self.steps:
            after, threads = stages[-1].spec.name, config.runner.threads
            stages.append(Safety(config.safety, config.image, self.run.role(path), after, side, threads))
        return stages

    def _last_filter(self, path: str) -> str:
        """The stage whose live rows all later stages of a collection take."""
        if self._has_safety(path) and "safety" in self.steps:
            return "safety"
        return "quality" if self._has_quality(path) and "quality" in self.steps else "decode"

    def _has_quality(self, path: str) -> bool:
        return self.run.role(path) in self.run.config.quality.on

    def _has_safety(self, path: str) -> bool:
        return is_active(self.run.config.safety, self.run.role(path))

    def _forget_filters(self) -> None:
        """Remove what filters left that are now turned off: later stages must not take it for their input."""
        for path in self.run.collections():
            collection = self.run.collection(path)
            for part in [] if self._has_quality(path) else collection.parts("quality"):
                collection.remove("quality", part)
            for part in [] if self._has_safety(path) else collection.parts("safety"):
                collection.remove("safety", part)
                self.run.store.remove(f"{path}/{changed_tar(part)}")
        unused = {"exclude": not self.run.config.exclude}
        unused |= dict.fromkeys(("embedding_knn", "semantic_dedup"), not self.run.config.semantic_dedup.enabled)
        for stage in [stage for stage, off in unused.items() if off]:
            for part in self.run.pool.parts(stage):
                self.run.pool.remove(stage, part)

    def _deduplicate(self) -> None:
        """Duplicates, and all that leads to a reference image: near images, a look at them, and the decision."""
        config = self.run.config
        pool, settings = self.run.pool, config.dedup
        references = [self.run.references(item.name) for item in config.references]
        index = PoolIndex(pool, "copy_descriptors", settings, config.seed)
        if "copy_knn" in self.steps:
            self._measure_bias([pool, *references])
            self._build("index of copies", index)
            offsets = Offsets.of(pool, settings.normalise)
            near = KnnWork(
                COPY_KNN, pool, index, after="copy_descriptors", neighbours=settings.neighbours, offsets=offsets
            )
            self._search("copy_knn", [near, *(self._near(item, index, offsets) for item in config.references)])
        if settings.verify != "off":
            changed = self._has_safety("pool")
            if "local_features" in self.steps:
                self._parts("local_features", [LocalFeaturesWork(pool, settings, config.image, changed=changed)])
            if "verify_copies" in self.steps:
                floors = [(pool, settings.candidate_above, settings.max_candidates)]
                floors += [
                    (reference, item.threshold or settings.relative.threshold, 1024)
                    for reference, item in zip(references, config.references, strict=True)
                ]
                self._parts("verify_copies", [self._look_at(*floor) for floor in floors])
        if "dedup" in self.steps:
            self._step("dedup", Dedup(pool, references, config.references, settings, config.hash))

    def _measure_bias(self, collections: Sequence[Collection]) -> None:
        """What similarities are to be lowered by, if they are."""
        settings, pool = self.run.config.dedup.normalise, self.run.pool
        if not settings.weight:
            for collection in collections:
                for part in collection.parts(BIAS):
                    collection.remove(BIAS, part)
            return
        fit = FitBackground(pool, settings)
        self._step("fit background", fit)
        stages = {own: Bias(fit.artifact, settings, own=own) for own in (True, False)}
        seed = self.run.config.seed
        self._parts("bias", [ColumnWork(some, stages[some.path == pool.path], seed) for some in collections])

    def _near(self, item: ReferenceConfig, index: PoolIndex, offsets: Offsets | None) -> KnnWork:
        """The nearest pool images of a reference set; more of them where all may be copies."""
        settings = self.run.config.dedup
        above = item.threshold or settings.relative.threshold
        if settings.verify != "off":
            above = (
                settings.accept_above
            )  # from the lower threshold on, images are only looked at, and half a pool may be
        k = item.neighbours or settings.neighbours
        collection = self.run.references(item.name)
        return KnnWork(
            COPY_KNN, collection, index, after="copy_descriptors", neighbours=k, copies_above=above, offsets=offsets
        )

    def _look_at(self, collection: Collection, floor: float, top: int) -> VerifyCopiesWork:
        changed = self._has_safety(collection.path)
        config = self.run.config
        return VerifyCopiesWork(
            collection, self.run.pool, config.dedup, config.image, floor=floor, top=top, changed=changed
        )

    def _embed(self) -> None:
        """Where each image lies among concepts."""
        self._need_live("pool", "dedup")
        fit = self._fit_whitening("embeddings", self._concept_model)
        side = self._concept_side
        work = []
        paths = ("pool", *self._seed_paths, *(f"excludes/{item.name}" for item in self.run.config.exclude))
        for path in paths:
            after = "dedup" if path == "pool" else self._last_filter(path)
            stage = self._describe("embeddings", after, self._concept_model, fit, side, self._has_safety(path))
            work.append(self._pixels(self.run.collection(path), [stage], self.run.config.embed, side))
        self._parts("embeddings", work)
        for path in paths:
            self._need_live(path, "embeddings")

    def _exclude(self) -> None:
        """Pool images that resemble examples of what is unwanted go."""
        if sets := self.run.config.exclude:
            examples = [self.run.excludes(item.name) for item in sets]
            self._parts("exclude", [ExcludeWork(self.run.pool, examples, sets)])
            self._need_live("pool", "exclude")

    def _thin_out(self) -> None:
        """Of images that show the same thing, one stays."""
        settings, pool = self.run.config.semantic_dedup, self.run.pool
        if not settings.enabled:
            return
        after = "exclude" if self.run.config.exclude else "embeddings"
        index = self._index(after, "artifacts/embedding_knn")
        self._build("index of embeddings", index)
        self._search(
            "embedding_knn", [KnnWork(EMBEDDING_KNN, pool, index, after=after, neighbours=settings.neighbours)]
        )
        if "semantic_dedup" in self.steps:
            self._step("semantic dedup", SemanticDedup(pool, settings, after))

    @property
    def _chosen_from(self) -> str:
        """The stage of the pool whose live rows are clustered and retrieved."""
        if self.run.config.semantic_dedup.enabled:
            return "semantic_dedup"
        return "exclude" if self.run.config.exclude else "embeddings"

    def _index(self, after: str, folder: str) -> PoolIndex:
        """Of the pool's embeddings."""
        config = self.run.config
        return PoolIndex(self.run.pool, "embeddings", config.retrieval, config.seed, after=after, folder=folder)

    def _cluster(self) -> None:
        """k-means over the pool, and the cluster of every pool and seed image."""
        fit = FitCentroids(self.run.pool, self.run.config.clusters, self.run.config.seed, self._chosen_from)
        self._gang("k-means", fit)
        seed = self.run.config.seed
        after = {"pool": self._chosen_from, **dict.fromkeys(self._seed_paths, "embeddings")}
        stages = {path: Clusters(fit.artifact, stage) for path, stage in after.items()}
        self._parts("clusters", [ColumnWork(self.run.collection(path), stages[path], seed) for path in stages])

    def _grow_tree(self) -> None:
        """Clusters of clusters over the pool, where images are chosen equally from all of them."""
        config, pool = self.run.config, self.run.pool
        if not config.selection.balances:
            for part in pool.parts("hierarchy"):
                pool.remove("hierarchy", part)
            return
        fit = FitHierarchy(pool, config.hierarchy, config.clusters, config.seed, self._chosen_from)
        self._gang("hierarchical k-means", fit)
        self._parts("hierarchy", [ColumnWork(pool, Hierarchy(fit.artifact), config.seed)])

    def _retrieve(self) -> None:
        """The nearest pool images of each seed image, for sets in sample mode."""
        retrieves = self.run.config.selection.retrieves
        sets = [seed for seed in self.run.config.seeds if seed.retrieve == "sample" and retrieves]
        for other in (self.run.seeds(seed.name) for seed in self.run.config.seeds if seed not in sets):
            for part in other.parts("seed_knn"):
                other.remove("seed_knn", part)
        images = sum(live_counts(self.run.pool, self._chosen_from).values())
        for seed in sets:
            if seed.neighbours > images:
                raise ConfigError(
                    f"seeds/{seed.name}: {seed.neighbours} neighbours cannot be found in a pool of {images} images; "
                    f"set its neighbours to {images} or less"
                )
        if sets:
            index = self._index(self._chosen_from, "artifacts/seed_knn")
            self._build("index of embeddings", index)
            works = [
                KnnWork(SEED_KNN, self.run.seeds(seed.name), index, after="clusters", neighbours=seed.neighbours)
                for seed in sets
            ]
            self._search("seed_knn", works)

    def _select(self) -> None:
        """The list of chosen images, shuffled."""
        self._step("selection", Compose(self.run))

    def _export(self) -> None:
        """The shards, and last of all their manifest."""
        selection = self.run.selection
        work = ExportWork(selection, self.run.config.export, self.run.config.image)
        parts = selection.parts("selection")
        if not all(work.is_current(part) for part in parts):
            self.run.store.remove(MANIFEST)  # the old one would vouch for shards that are about to change
        for part in selection.parts("export"):
            if part not in parts:
                selection.remove("export", part)
                self.run.store.remove(f"shards/{shard_name(part)}")
        self._parts("export", [work], parts)
        manifest = self._manifest()
        if read_manifest(self.run.store) != manifest:
            write_manifest(self.run.store, manifest)

    def _remove_originals(self) -> None:
        """What the run should not keep of images that were dropped or blurred."""
        if self.run.config.privacy.delete_originals:
            for path in self.run.collections():
                collection = self.run.collection(path)
                for part in collection.parts("fetch"):
                    remove_originals(collection, STAGES, part)

    # -- how steps are done --------------------------------------------------------------------------------------

    def _parts(self, name: str, works: Sequence[PartWork], parts: Sequence[int] | None = None) -> None:
        """Run the parts that are out of date, those of all collections together."""
        tasks = [
            Task(work, part)
            for work in works
            for part in (work.collection.parts("list") if parts is None else parts)
            if not work.is_current(part)
        ]
        if not tasks:
            return
        with self.report.stage(name, sum(self._rows(task) for task in tasks)) as bar:
            for done in self.runner.run_tasks(tasks):
                bar.advance(self._rows(done), _verdict(done))

    def _rows(self, task: Task) -> int:
        collection = task.work.collection
        for stage in ("list", "selection"):
            if footer := collection.footer(stage, task.part):
                return footer.rows
        return 0

    def _build(self, name: str, index: PoolIndex) -> None:
        """One index with all cores, several at once."""
        if len(index.partitions) == 1 or index.is_current():
            self._step(name, index)
            return
        index.forget_others()
        work = BuildPartition(index)
        tasks = [Task(work, number) for number in range(len(index.partitions)) if not work.is_current(number)]
        with self.report.stage(name, 0):
            for _ in self.runner.run_tasks(tasks):
                pass

    def _search(self, name: str, works: Sequence[KnnWork]) -> None:
        """Neighbours: shard by shard where the pool has several, those of all collections together."""
        stale = [work for work in works if not all(map(work.is_current, work.collection.parts("list")))]
        passes = itertools.zip_longest(*(work.passes() for work in stale), fillvalue=())
        for number, some in enumerate(passes, 1):
            searches = sorted(itertools.chain(*some), key=lambda work: work.partition)
            self._parts(f"{name}, pass {number}", searches)
        self._parts(name, stale)
        for work in works:
            work.forget_lanes()

    def _step(self, name: str, step: Step) -> None:
        if not step.is_current():
            with self.report.stage(name, 0):
                self.runner.run_step(step)

    def _gang(self, name: str, step: FitCentroids | FitHierarchy) -> None:
        if not step.is_current():
            with self.report.stage(name, 0):
                self.runner.run_group(step)

    def _need_live(self, path: str, stage: str) -> None:
        """A collection that is used up makes all that follows meaningless."""
        collection = self.run.collection(path)
        footers = [collection.footer(stage, part) for part in collection.parts("list")]
        if any(footer and footer.ledger.live_out for footer in footers):
            return
        rows = sum(footer.rows for footer in footers if footer)
        raise UserError(
            f"{path}: none of its {rows} images can be used ({self._reasons(collection)}); "
            "mend the dataset, or the setting that drops them"
        )

    def _reasons(self, collection: Collection) -> str:
        rows = [row for row in funnel(self.run) if row.collection == collection.path]
        counts = [f"{count} {reason}" for row in rows for reason, count in row.ledger.drops.items()]
        return ", ".join(counts) or "none was listed"

    # -- models --------------------------------------------------------------------------------------------------

    @cached_property
    def _copy_model(self) -> Embedder:
        return open_embedder(self.run.config.copy_descriptors)

    @cached_property
    def _concept_model(self) -> Embedder:
        return open_embedder(self.run.config.embed)

    @cached_property
    def _copy_side(self) -> int:
        """What the shared pass decodes for, in all collections alike."""
        return max(THUMBNAIL, self._copy_model.side)

    @cached_property
    def _look_side(self) -> int:
        """What the pass decodes for, in all collections alike: enough for its filters, hashes and copy descriptors."""
        config = self.run.config
        return max(self._copy_side, safety_side(config.safety), GREY_SIDE if config.quality.on else 1)

    @cached_property
    def _concept_side(self) -> int:
        return self._concept_model.side

    @property
    def _seed_paths(self) -> list[str]:
        return [f"seeds/{seed.name}" for seed in self.run.config.seeds]

    def _fit_basis(self) -> FitOnSample:
        settings = self.run.config.hash
        fit = FitOnSample(
            self.run.pool,
            "pca_hash",
            {"bits": settings.bits},
            self.run.config.image,
            self._copy_side,
            hash_basis(settings.bits),
        )
        self._step("fit hash", fit)
        return fit

    def _fit_whitening(self, stage: str, model: Embedder) -> FitOnSample | None:
        if not model.needs_fit:
            return None
        assert isinstance(model, Fittable)
        settings = {"model": model.fingerprint()}
        fit = FitOnSample(
            self.run.pool, f"{stage}_whitening", settings, self.run.config.image, model.side, whitening(model)
        )
        self._step(f"fit {stage}", fit)
        return fit

    def _describe(
        self, stage: str, after: str, model: Embedder, fit: FitOnSample | None, side: int, changed: bool
    ) -> Embed:
        whitening = fit.artifact if fit else None
        return Embed(stage, after, model, whitening, side, model.fingerprint(), changed=changed)

    def _pixels(
        self, collection: Collection, stages: Sequence[PixelStage | SourceStage], model: ModelConfig, side: int
    ) -> PixelWork:
        return PixelWork(
            collection,
            stages,
            self.run.config.image,
            side=side,
            check_first=isinstance(stages[0], DecodeCheck),
            batch=ROWS_AT_ONCE if model.batch == "auto" else model.batch,
        )

    def _manifest(self) -> dict[str, object]:
        export, chosen = self.run.selection, self.run.config.selection
        shards: list[dict[str, Any]] = []
        for part in export.parts("export"):
            first = export.read("export", part, ["shard", "shard_bytes", "shard_sha256"])
            row = first.slice(0, 1).to_pylist()[0]
            shards.append(
                {
                    "name": row["shard"],
                    "samples": first.num_rows,
                    "bytes": row["shard_bytes"],
                    "sha256": row["shard_sha256"],
                }
            )
            if chosen.weights is not None:  # then each shard is of one source
                seed_set = export.read("selection", part, ["seed_set"])["seed_set"][0].as_py()
                shards[-1]["source"] = chosen.source_of(seed_set)
        sources = {} if chosen.weights is None else {"sources": sources_of(shards, chosen.weights)}
        return {
            "code_version": __version__,
            "samples": sum(shard["samples"] for shard in shards),
            "shards": shards,
            **sources,
            "composition": [row.to_dict() for row in read_composition(self.run)],
            "funnel": [row.to_dict() for row in funnel(self.run)],
            "config": self.run.config.recipe(),
        }


def _verdict(task: Task) -> Ledger:
    """What became of a part that is done, over all the stages of its work."""
    footers = [task.work.collection.footer(stage, task.part) for stage in task.work.stages]
    ledgers = [footer.ledger for footer in footers if footer is not None]
    return replace(sum(ledgers[1:], ledgers[0]), live_in=ledgers[0].live_in, live_out=ledgers[-1].live_out)
