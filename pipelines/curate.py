"""The main job: from a pool, seeds and references to a curated dataset of WebDataset shards.

What is done, and in which order, `curation/pipeline.py` declares. Running the same command again continues a run that
was stopped, and does nothing for a run that is finished.
"""

from curation import pipeline
from curation.config import Config
from curation.config.renamed import STAGES
from curation.engine.execution import Execution
from curation.engine.graph import Job
from curation.engine.progress import Progress, Quiet
from curation.engine.runner import open_runner
from curation.errors import ConfigError, UserError
from curation.formats.dataset import detect
from curation.run.directory import Run
from curation.stages.filters.web import with_roles
from curation.stages.ingest.fetch import Fetch
from curation.stages.ingest.originals import remove_originals
from curation.stages.ingest.retry import RetryFailed

__all__ = ["check_inputs", "curate", "steps"]


def steps() -> tuple[str, ...]:
    """Where `until` can stop, in order."""
    return pipeline.CURATE.names


def curate(
    config: Config,
    out: str,
    *,
    until: str | None = None,
    retry_failed: bool = False,
    report: Progress | None = None,
) -> Run:
    """Curate a dataset, or continue to; returns the run.

    Args:
        out: the run directory, a local path or any fsspec URL.
        until: the last step to do, one of `steps()`.
        retry_failed: first try again, once, to fetch what failed for a passing reason, such as a timeout.

    Raises:
        UserError: something that the user can change; what is finished stays, and nothing is overwritten.
        PartsFailed: some parts could not be made; all others are.
    """
    if until is not None and until not in steps():
        now = f"is called {STAGES[until]} now" if until in STAGES else "no such step"
        raise UserError(f"`until` {until}: {now}; the steps are {', '.join(steps())}")
    if not config.seeds and config.selection.retrieves:
        raise ConfigError(
            "seeds: there is none; name at least one set of images to find more of; without seeds, lvd dedup keeps one "
            "of each image of a dataset"
        )
    run = Run(out, with_roles(config))
    job = Job(run, pipeline.CURATE, until)
    check_inputs(job)
    with run.locked():
        run.begin()
        with open_runner(config.runner) as runner:
            if not run.pool.parts("fetch"):
                runner.warm_up()  # starting workers takes seconds, and so may listing
            execution = Execution(job, runner, report or Quiet())
            if retry_failed and "fetch" in job.todo.names:
                Execution(Job(run, pipeline.CURATE, "fetch"), runner, report or Quiet()).do()
                fetch = Fetch(config.crawl, config.image)
                works = [RetryFailed(run.collection(path), fetch, config.seed) for path in run.collections()]
                execution.run_parts("fetch again", works)
            execution.do()
        if config.privacy.delete_originals and until in (None, steps()[-1]):
            _remove_originals(run)
    return run


def check_inputs(job: Job) -> None:
    """Find datasets and weights that cannot be had, before anything is written."""
    for datasets in job.run.collections().values():
        for data in datasets:
            detect(data)
    job.check()


def _remove_originals(run: Run) -> None:
    """What the run should not keep of images that were dropped or blurred."""
    for path in run.collections():
        collection, stages = run.collection(path), [node.name for node in pipeline.CURATE.at(run.config, path)]
        for part in collection.parts("fetch"):
            remove_originals(collection, stages, part)
