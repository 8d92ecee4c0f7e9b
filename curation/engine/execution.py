"""Runs a pipeline over a run: what is out of date, in the order of the declaration.

Every decision follows from the graph and from the files of the run. A command that is given again goes on where it was.
"""

import itertools
from collections.abc import Sequence
from dataclasses import replace

from curation.engine.contract import FromColumns, Index, Indexed, MakesRows
from curation.engine.graph import Job, Node, Pipeline, Site
from curation.engine.image_pass import ImageWork
from curation.engine.ledgers import funnel
from curation.engine.progress import Progress
from curation.engine.runner import Runner, Task
from curation.engine.work import FitWork, GlobalWork, PartWork, Step, TableWork
from curation.errors import UserError
from curation.run.log import logged_stage
from curation.run.parts import Collection, Ledger

__all__ = ["Execution"]

IMAGES_AT_ONCE = 64
"""Decoded images that wait for a stage where nothing says how many: some may have a hundred megabytes."""


class Execution:
    """One command's work on a run."""

    def __init__(self, job: Job, runner: Runner, progress: Progress) -> None:
        self._job = job
        self._runner = runner
        self._progress = progress
        self._costs = {node.name: node.cost for node in job.todo}

    def do(self) -> None:
        """Bring the run up to date.

        Raises:
            UserError: something that only the user can change; what is finished stays.
            PartsFailed: some parts could not be made; all others are.
        """
        self._remove_what_is_off()
        kinds = {"image": self._pass, "part": self._part_stage}
        for block in self._job.todo.blocks():
            self._job.shared.clear()
            self._progress.span(*self._span(block))
            self._fit(block)
            kinds.get(block.nodes[0].kind, self._global_stage)(block)
            self._need_live(block)
            if "list" in block.names:
                self._costs = self._weighed()  # now it is known how many images there are

    def run_parts(self, name: str, works: Sequence[PartWork], parts: Sequence[int] | None = None) -> None:
        """Run the parts that are out of date, those of all collections together."""
        tasks = [
            Task(work, part)
            for work in works
            for part in (_parts_of(work) if parts is None else parts)
            if not work.is_current(part)
        ]
        if not tasks:
            return
        rows = sum(map(_rows, tasks))
        with logged_stage(name, rows), self._progress.stage(name, rows) as bar:
            for done in self._runner.run_tasks(tasks):
                bar.advance(_rows(done), _verdict(done))

    def run_step(self, name: str, step: Step) -> None:
        """Run a step that needs all parts at once, if it is out of date."""
        if step.is_current():
            return
        with logged_stage(name), self._progress.stage(name, 0):
            if isinstance(step, FitWork) and step.iterates:
                self._runner.run_group(step)
            else:
                self._runner.run_step(step)

    # -- the kinds of stages ---------------------------------------------------------------------------------------

    def _fit(self, block: Pipeline) -> None:
        """What the stages of a block need to have fitted."""
        for node in block:
            if sites := self._job.sites(node):
                fits = (sites[0].fit(needed) for needed in node.needs)
                for work in [FitWork(fit) for fit in fits if fit is not None]:
                    self.run_step(work.name, work)

    def _pass(self, block: Pipeline) -> None:
        """Image stages over one decode of each image."""
        job, side = self._job, self._job.side(block.nodes[0].name)
        batches = [job.model(node.settings).batch for node in block if node.embeds]
        batch = min([size for size in batches if size != "auto"], default=IMAGES_AT_ONCE)
        works: list[PartWork] = []
        for path in job.pipeline.row_sets(job.run):
            if nodes := block.at(job.config, path):
                stages = [node.make(Site(job, path, node.name)) for node in nodes]
                collection = job.run.collection(path)
                if isinstance(stages[0], FromColumns):
                    assert len(stages) == 1, "what is kept needs no pass"
                    works.append(TableWork(collection, stages[0], job.config.seed))
                else:
                    works.append(ImageWork(collection, stages, job.config.image, side=side, batch=batch))
        self.run_parts(" to ".join(dict.fromkeys((block.names[0], block.names[-1]))), works)

    def _part_stage(self, block: Pipeline) -> None:
        (node,) = block
        sites = self._job.sites(node)
        works = [TableWork(site.collection, node.make(site), self._job.config.seed) for site in sites]
        if works and isinstance(works[0].stage, Indexed):
            self._search(node.name, works)
            return
        if node.withdraw and not all(_is_done(work) and not work.surplus(_parts_of(work)) for work in works):
            for site in sites:
                node.withdraw(site)
        for work in works:
            work.remove_surplus(_parts_of(work))
        self.run_parts(node.name, works)
        for site in sites if node.finish else ():
            assert node.finish is not None
            node.finish(site)

    def _global_stage(self, block: Pipeline) -> None:
        (node,) = block
        for site in self._job.sites(node):
            work = GlobalWork(site.collection, node.make(site))
            if node.kind == "rows" and work.stage.expected() is None:
                work.run()  # here, as mostly there is nothing to do, and starting workers takes seconds
            else:
                self.run_step(node.name, work)

    def _search(self, name: str, works: Sequence[TableWork]) -> None:
        """Neighbours: in passes over the partitions of the index where it has several, those of all collections
        together."""
        stale = [work for work in works if not _is_done(work)]
        stages = [work.stage for work in stale if isinstance(work.stage, Indexed)]
        if stages:
            self._build(f"index for {name}", stages[0].index)
        passes = itertools.zip_longest(*(stage.passes() for stage in stages), fillvalue=())
        for number, searches in enumerate(passes, 1):
            in_order = sorted(itertools.chain(*searches), key=lambda work: work.partition)
            self.run_parts(f"{name}, pass {number}", in_order)
        self.run_parts(name, stale)
        for stage in [work.stage for work in works if isinstance(work.stage, Indexed)]:
            stage.forget_lanes()  # also those that a command left that was killed after its last part

    def _build(self, name: str, index: Index) -> None:
        """The index: one partition with all cores, several at once."""
        if len(index.partitions) == 1 or index.is_current():
            self.run_step(name, index)
            return
        index.forget_others()
        self.run_parts(name, [index.work()], range(len(index.partitions)))

    # -- around them -----------------------------------------------------------------------------------------------

    def _remove_what_is_off(self) -> None:
        """Remove what stages left that are now off: later stages must not take it for their input."""
        job = self._job
        for path in job.pipeline.row_sets(job.run):
            collection = job.run.collection(path)
            off = [node for node in job.pipeline if not node.is_on(job.config, path) and not node.keep]
            present = set(job.run.store.folders(path))  # one listing: on object stores each is a request
            for node in [node for node in off if node.name in present]:
                for part in collection.parts(node.name):
                    collection.remove(node.name, part)
                    if left := node.leaves(part):
                        collection.store.remove(f"{path}/{left}")

    def _span(self, block: Pipeline) -> tuple[float, float]:
        """The share of the whole job that a block is, by what its stages cost an image and how many there are."""
        costs = self._costs
        before = itertools.takewhile(lambda name: name != block.names[0], self._job.todo.names)
        start, total = sum(costs[name] for name in before), sum(costs.values()) or 1.0
        return start / total, (start + sum(costs[name] for name in block.names)) / total

    def _weighed(self) -> dict[str, float]:
        """What each stage costs over all the images that are listed; the shards are as many as the pool, at most."""
        images = {}
        for path in self._job.run.collections():
            listed = self._job.run.collection(path)
            footers = (listed.footer("list", part) for part in listed.parts("list"))
            images[path] = sum(footer.rows for footer in footers if footer)
        return {
            node.name: node.cost * sum(images.get(site.path or "pool", 0) for site in self._job.sites(node))
            for node in self._job.todo
        }

    def _need_live(self, block: Pipeline) -> None:
        """A collection that is used up makes all that follows meaningless."""
        job, later = self._job, self._job.todo.after(block.names[-1])
        for path in job.run.collections():
            if (nodes := block.at(job.config, path)) and later.at(job.config, path):
                self._need_live_in(self._job.run.collection(path), nodes[-1])

    def _need_live_in(self, collection: Collection, node: Node) -> None:
        parts = collection.parts(node.name)
        if any(footer.ledger.live_out for part in parts if (footer := collection.footer(node.name, part))):
            return  # mostly the first part says so, and no other is read
        footers = [collection.footer(node.name, part) for part in parts]
        rows = sum(footer.rows for footer in footers if footer)
        rows_of = [row for row in funnel(self._job.run, self._job.pipeline) if row.collection == collection.path]
        counts = [f"{count} {reason}" for row in rows_of for reason, count in row.ledger.drops.items()]
        raise UserError(
            f"{collection.path}: none of its {rows} images can be used ({', '.join(counts) or 'none was listed'}); "
            "fix the dataset, or the setting that drops them"
        )


def _parts_of(work: PartWork) -> list[int]:
    """The parts that a work has: those of the rows that it works on, or those that it makes."""
    if isinstance(work, TableWork):
        if isinstance(work.stage, MakesRows):
            return work.stage.parts()
        assert work.stage.spec.after is not None
        return work.collection.parts(work.stage.spec.after)
    return work.collection.parts("list")


def _is_done(work: TableWork) -> bool:
    return all(map(work.is_current, _parts_of(work)))


def _rows(task: Task) -> int:
    collection, work = task.work.collection, task.work
    after = work.stage.spec.after if isinstance(work, TableWork) else "list"
    footer = collection.footer(after, task.part) if after else None
    return footer.rows if footer else 0


def _verdict(task: Task) -> Ledger:
    """What became of a part that is done, over all the stages of its work."""
    footers = [task.work.collection.footer(stage, task.part) for stage in task.work.stages]
    ledgers = [footer.ledger for footer in footers if footer is not None]
    if not ledgers:
        return Ledger(0, 0)
    return replace(sum(ledgers[1:], ledgers[0]), live_in=ledgers[0].live_in, live_out=ledgers[-1].live_out)
