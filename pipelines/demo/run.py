"""The demo: the whole of `lvd curate` on a small web made here, checked against what was planted in it."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from curation.config import Config, load_config
from curation.config.shipped import FOLDER as CONFIGS
from curation.engine.progress import Progress, Quiet
from curation.errors import RunError
from curation.run.directory import Run
from pipelines.curate import curate
from pipelines.demo.check import Finding, check
from pipelines.demo.outcomes import outcomes_of
from pipelines.demo.pictures import SEED_SETS
from pipelines.demo.server import WebServer
from pipelines.demo.truth import read_truth
from pipelines.demo.web import Web, make_web

__all__ = ["CONFIG", "Demo", "demo"]

CONFIG = CONFIGS / "curate" / "demo.yaml"
VERSION = 2
"""Of the web: raised when the same seed gives another one."""


@dataclass(frozen=True, slots=True)
class Demo:
    """A finished demo."""

    run: Run
    findings: list[Finding]
    """The self-check: one row per planted kind, then the targets."""

    @property
    def missed(self) -> list[Finding]:
        """The targets that were not reached."""
        return [finding for finding in self.findings if not finding.passed]


def demo(out: str, *, overrides: Sequence[str] = (), report: Progress | None = None) -> Demo:
    """Make the web beside the run, curate it through HTTP, and check what came out.

    Running it again continues, or does nothing, as `curate` does; the web in `<out>-web` is made once.

    Args:
        out: the run directory, a local path.
        overrides: settings to change, as in `lvd curate --set`.

    Raises:
        UserError: as `curate`, and if `<out>-web` is something else than this demo's web.
    """
    report = report or Quiet()
    settings = load_config(CONFIG, overrides)
    web = _web_beside(Path(out), settings.seed, report)
    with WebServer(web.site) as server:
        run = curate(_for_web(settings, web, server.connect_to), out, report=report)
    seeded = [concept for concepts in SEED_SETS.values() for concept in concepts]
    return Demo(run, check(outcomes_of(run), web.truth, seeded))


def _for_web(settings: Config, web: Web, connect_to: dict[str, str]) -> Config:
    """The settings with the web's own paths and addresses in place; in the file, paths are relative to the web."""
    seeds, references = (
        [item.model_copy(update={"data": str(web.folder / item.data)}) for item in sets]
        for sets in (settings.seeds, settings.references)
    )
    pool = [str(web.folder / data) for data in settings.pool]
    crawl = settings.crawl.model_copy(update={"connect_to": connect_to})
    return settings.model_copy(update={"pool": pool, "seeds": seeds, "references": references, "crawl": crawl})


def _web_beside(out: Path, seed: int, report: Progress) -> Web:
    """The web in `<out>-web`, made there if it is not there yet. It appears all at once, so a half-made one never does.

    Raises:
        RunError: the folder holds something else, or the web of another seed.
    """
    folder = out.with_name(f"{out.name}-web")
    stamp, made = folder / "web.json", {"seed": seed, "version": VERSION}
    if not folder.exists():
        half = out.with_name(f"{out.name}-web-in-the-making")
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(parents=True)
        with report.stage("make the web", 0):
            make_web(half, seed)
        (half / stamp.name).write_text(json.dumps(made), encoding="utf-8")
        half.rename(folder)
    if not stamp.is_file() or json.loads(stamp.read_text(encoding="utf-8")) != made:
        raise RunError(f"{folder}: is not the demo's web of seed {seed}; remove it, or choose another `out`")
    return Web(folder, read_truth(folder / "truth.parquet"))
