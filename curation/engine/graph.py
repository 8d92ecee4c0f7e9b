"""The pipeline as data, and all that follows from it: order, what is on, what comes before what.

A *row set* is what parts are cut from: a collection (by its role), the URLs that a collection is made of, or the
shards. The declaration itself is `curation/pipeline.py`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Literal

from curation.config import Config, ModelConfig, ReferenceConfig, SeedConfig
from curation.engine.contract import Fit
from curation.engine.locations import CHANGED_BY, IMAGES, PLACE
from curation.models import Embedder, open_embedder
from curation.run.directory import Run, role_of
from curation.run.parts import Collection

__all__ = ["URLS", "Job", "Kind", "Node", "Pipeline", "RowSet", "Site", "row_set_of"]

Kind = Literal["rows", "part", "image", "global"]
"""What a stage is given: `rows` makes a new row set, `part` a table, `image` decoded images, `global` all parts."""
RowSet = Literal["urls", "pool", "seed", "reference", "exclude", "shards"]
URLS = "crawl"
"""The folder of a collection's URLs."""
SHARDS = ""
"""The path of the row set of shards."""


def _always(config: Config, path: str) -> bool:
    return True


def _one_pixel(config: Config) -> int:
    return 1


@dataclass(frozen=True)
class Node:
    """One line of the pipeline.

    Attributes:
        on: the row sets that the stage works on.
        stage: makes the stage for one of them.
        when: whether the settings ask for it, on a path such as `seeds/birds`.
        needs: makes what is to be fitted first.
        model: the section of the config that names its embedder.
        side: of an image stage without one, the shorter side in pixels that images must be decoded for.
        check: raises a UserError for what cannot be had, before any work.
        keep: whether its files stay while it is off, since they are hours of work.
        leaves: a file of its own that a part leaves beside the table, relative to its collection.
        withdraw: called before parts change that a file elsewhere vouches for.
        finish: called when all parts are done.
        cost: CPU seconds for 1,000 rows, as far as a bar needs to know.
    """

    name: str
    kind: Kind
    on: tuple[RowSet, ...]
    stage: Callable[["Site"], Any]
    when: Callable[[Config, str], bool] = _always
    needs: tuple[Callable[["Site"], Fit | None], ...] = ()
    model: Literal["copy_descriptors", "embed"] | None = None
    side: Callable[[Config], int] = _one_pixel
    check: Callable[[Config, str], object] | None = None
    keep: bool = False
    leaves: Callable[[int], str] | None = None
    withdraw: Callable[["Site"], None] | None = None
    finish: Callable[["Site"], None] | None = None
    cost: float = 1.0

    def is_on(self, config: Config, path: str) -> bool:
        """Whether the stage works on a row set of a run."""
        return row_set_of(path) in self.on and self.when(config, path)


@dataclass(frozen=True)
class Pipeline:
    """Nodes in the order of the work."""

    nodes: tuple[Node, ...]

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(node.name for node in self.nodes)

    def node(self, name: str) -> Node:
        """A node by its name."""
        return self.nodes[self.names.index(name)]

    def until(self, name: str) -> "Pipeline":
        """Up to a stage, that one included."""
        return Pipeline(self.nodes[: self.names.index(name) + 1])

    def at(self, config: Config, path: str) -> list[Node]:
        """What works on a row set, in order."""
        return [node for node in self.nodes if node.is_on(config, path)]

    def before(self, config: Config, path: str, name: str) -> str | None:
        """The stage whose live rows another one takes: the last that is on before it."""
        earlier = [node.name for node in self.nodes[: self.names.index(name)] if node.is_on(config, path)]
        return earlier[-1] if earlier else None

    def row_sets(self, run: Run) -> list[str]:
        """The paths of all row sets that a run can have, in the order of the work."""
        paths = [path for collection in run.collections() for path in (f"{collection}/{URLS}", collection)]
        return [*paths, SHARDS]

    def blocks(self) -> list["Pipeline"]:
        """What is run together: consecutive image stages, and each other stage by itself."""
        numbered = enumerate(self.nodes)
        groups = groupby(numbered, key=lambda item: -1 if item[1].kind == "image" else item[0])
        return [Pipeline(tuple(node for _, node in group)) for _, group in groups]


class Job:
    """A run and the pipeline that it goes through, with what its stages share."""

    def __init__(self, run: Run, pipeline: Pipeline, until: str | None = None) -> None:
        self.run = run
        self.config = run.config
        self.pipeline = pipeline
        self.todo = pipeline.until(until) if until else pipeline
        """The part of the pipeline that this job does."""
        self._embedders: dict[str, Embedder] = {}
        self.shared: dict[str, Any] = {}
        """What several sites of one node have in common, by name; emptied before the next node."""

    def model(self, section: str) -> ModelConfig:
        """The settings of an embedder, by their section of the config."""
        settings: ModelConfig = getattr(self.config, section)
        return settings

    def embedder(self, section: str) -> Embedder:
        """The embedder that a section of the config names, opened once; ModelError if there is none."""
        if section not in self._embedders:
            self._embedders[section] = open_embedder(self.model(section))
        return self._embedders[section]

    def side(self, name: str) -> int:
        """What images are decoded for in the pass that a stage is in: enough for all its stages, and the same in all
        collections, however far this job goes."""
        block = next(block for block in self.pipeline.blocks() if name in block.names)
        on = [node for node in block if self.sites(node)]
        models = [self.embedder(node.model).side for node in on if node.model]
        return max([1, *models, *(node.side(self.config) for node in on)])

    def sites(self, node: Node) -> list["Site"]:
        """Where a node works."""
        paths = self.pipeline.row_sets(self.run)
        return [Site(self, path, node.name) for path in paths if node.is_on(self.config, path)]

    def check(self) -> None:
        """Find weights and the like that cannot be had, before anything is written; a UserError says what."""
        for node in self.todo:
            paths = [site.path for site in self.sites(node)]
            if node.model and paths:
                self.embedder(node.model).fingerprint()
            for path in paths if node.check else ():
                assert node.check is not None
                node.check(self.config, path)


@dataclass(frozen=True)
class Site:
    """Where a node works: one row set of a run, and what its stage is made from."""

    job: Job = field(repr=False)
    path: str
    node: str

    @property
    def run(self) -> Run:
        return self.job.run

    @property
    def config(self) -> Config:
        return self.job.config

    @property
    def collection(self) -> Collection:
        return self.run.collection(self.path)

    @property
    def pool(self) -> Collection:
        return self.run.pool

    @property
    def seed(self) -> SeedConfig:
        """The settings of the seed set that this is."""
        return next(item for item in self.config.seeds if self.path == f"seeds/{item.name}")

    @property
    def reference(self) -> ReferenceConfig:
        """The settings of the reference set that this is."""
        return next(item for item in self.config.references if self.path == f"references/{item.name}")

    @property
    def after(self) -> str:
        """The stage whose live rows the node takes here."""
        before = self.job.pipeline.before(self.config, self.path, self.node)
        assert before is not None, f"{self.node}: nothing comes before it in {self.path}"
        return before

    @property
    def in_pool(self) -> "Site":
        """The same node in the pool, where its artifacts are fitted."""
        return Site(self.job, "pool", self.node)

    @property
    def image_columns(self) -> Mapping[str, Sequence[str]]:
        """What a stage that looks at images reads: where they are, as they came or as the safety stage left them."""
        changes = any(node.name == CHANGED_BY for node in self.job.pipeline.at(self.config, self.path))
        return {**IMAGES, CHANGED_BY: PLACE} if changes else IMAGES

    @property
    def side(self) -> int:
        """The shorter side in pixels that images are decoded for here."""
        return self.job.side(self.node)

    @property
    def embedder(self) -> Embedder:
        """The node's own."""
        section = self.job.pipeline.node(self.node).model
        assert section is not None, f"{self.node}: names no model"
        return self.job.embedder(section)

    def shared(self, name: str, make: Callable[[], Any]) -> Any:
        """What all sites of the node have in common, made once."""
        if name not in self.job.shared:
            self.job.shared[name] = make()
        return self.job.shared[name]


def row_set_of(path: str) -> RowSet:
    """The kind of a row set, by its path in the run."""
    if path == SHARDS:
        return "shards"
    folders = path.split("/")
    if folders[-1] == URLS and len(folders) == (2 if folders[0] == "pool" else 3):
        return "urls"
    return role_of(path)
