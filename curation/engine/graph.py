"""The pipeline as data, and all that follows from it: order, what is on, what comes before what.

A *row set* is what parts are cut from: a collection (by its role), the URLs that a collection is made of, or the
shards. The declaration itself is `curation/pipeline.py`.
"""

import inspect
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
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


@dataclass(frozen=True)
class Node:
    """One line of the pipeline.

    Attributes:
        on: the row sets that the stage works on.
        stage: a class whose `at` makes the stage for one of them, or a function that does. The first paragraph of its
            docstring says what the stage does, here and in the docs. The class of an image stage may say what images
            must be decoded for (`decoded_for`), what it costs (`milliseconds`), and what a part leaves beside its
            table (`leaves`); `check` of any class finds what cannot be had, before any work.
        settings: sections of the config that it depends on.
        when: whether the settings ask for it, on a path such as `seeds/birds`.
        needs: makes what is to be fitted first.
        embeds: whether `settings` names the embedder that it uses.
        keep: whether its files stay while it is off, since they are hours of work.
        withdraw: called before parts change that a file elsewhere vouches for.
        finish: called when all parts are done.
    """

    name: str
    kind: Kind
    on: tuple[RowSet, ...]
    stage: Any
    settings: str = ""
    when: Callable[[Config, str], bool] = _always
    needs: tuple[Callable[["Site"], Fit | None], ...] = ()
    embeds: bool = False
    keep: bool = False
    withdraw: Callable[["Site"], None] | None = None
    finish: Callable[["Site"], None] | None = None

    @property
    def what(self) -> str:
        """What the stage does, in a sentence."""
        text = inspect.getdoc(self.stage) or ""
        return " ".join(text.split("\n\n")[0].split()).partition(": ")[2].rstrip(".")

    def is_on(self, config: Config, path: str) -> bool:
        """Whether the stage works on a row set of a run."""
        return row_set_of(path) in self.on and self.when(config, path)

    def make(self, site: "Site") -> Any:
        """The stage for a row set."""
        return getattr(self.stage, "at", self.stage)(site)

    def side(self, config: Config) -> int:
        """The shorter side in pixels that an image stage needs images decoded for."""
        return int(self.stage.decoded_for(config)) if hasattr(self.stage, "decoded_for") else 1

    @property
    def cost(self) -> float:
        """CPU milliseconds for an image, roughly: what progress weighs stages by."""
        return float(getattr(self.stage, "milliseconds", 1))

    def check(self, config: Config, path: str) -> None:
        """Find what cannot be had, before any work; a UserError says what."""
        if hasattr(self.stage, "check"):
            self.stage.check(config, path)

    def leaves(self, part: int) -> str | None:
        """A file that a part leaves beside its table, relative to its collection."""
        return self.stage.leaves(part) if hasattr(self.stage, "leaves") else None


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

    def after(self, name: str) -> "Pipeline":
        """What comes after a stage."""
        return Pipeline(self.nodes[self.names.index(name) + 1 :])

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
        self._sides: dict[str, int] = {}
        self.shared: dict[Hashable, Any] = {}
        """What several sites of one node have in common; emptied before the next block."""

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
        if name not in self._sides:
            block = next(block for block in self.pipeline.blocks() if name in block.names)
            on = [node for node in block if self.sites(node)]
            models = [self.embedder(node.settings).side for node in on if node.embeds]
            side = max([1, *models, *(node.side(self.config) for node in on)])
            self._sides.update(dict.fromkeys(block.names, side))
        return self._sides[name]

    def sites(self, node: Node) -> list["Site"]:
        """Where a node works."""
        paths = self.pipeline.row_sets(self.run)
        return [Site(self, path, node.name) for path in paths if node.is_on(self.config, path)]

    def check(self) -> None:
        """Find weights and the like that cannot be had, before anything is written; a UserError says what."""
        for node in self.todo:
            paths = [site.path for site in self.sites(node)]
            if node.embeds and paths:
                self.embedder(node.settings).fingerprint()
            for path in paths:
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
        return self.job.embedder(self.job.pipeline.node(self.node).settings)

    def fit(self, make: Callable[["Site"], Any]) -> Any:
        """What is fitted for the node: made once for all its sites, as its digest reads files of the whole pool."""
        return self.shared((self.node, make), lambda: make(self.in_pool))

    def shared(self, name: Hashable, make: Callable[[], Any]) -> Any:
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
