"""The third job: one of each image of a dataset, in the form that it has, and a report of its copies.

The dataset is written again by `pipelines/rewrite.py`, as for `lvd decontaminate`. No seeds are needed, and with
references their copies are removed as well.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from curation.config import Config
from curation.decontaminate.certificate import Action, Certificate
from curation.decontaminate.verdicts import Unreadable
from curation.engine.progress import Progress
from curation.errors import ConfigError
from pipelines.rewrite import rewrite, settings_of, split_against

__all__ = ["dedup", "dedup_settings"]


def dedup(
    dataset: str,
    out: str,
    *,
    against: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    action: Action = "write",
    unreadable: Unreadable = "keep",
    link: bool = True,
    plant: int = 60,
    report: Progress | None = None,
) -> Certificate:
    """Find the copies within a dataset and keep one of each image, or continue to.

    An image is removed only where the one that stands for it stays, and never takes with it what is no copy: a
    WebDataset sample that holds another image as well is kept whole.

    Args:
        dataset: a folder of images, WebDataset tars, or Parquet files with images.
        out: a folder for the deduplicated dataset (`data/`), the report, and the work files (`run/`).
        against: reference sets, each of any of these kinds; copies of their images are removed too, all of them.
            Or files of fingerprints: what those find is listed as suspects, and stays.
        settings: what differs from the defaults, nested as in a config file: `{"dedup": {"verify": "off"}}`.
        action: write the dataset again without copies, only list them, or rewrite shards in place.
        unreadable: what becomes of files that no decoder takes, and that can thus not be compared.
        link: hard links instead of copies, where a file is carried whole and the file system can.
        plant: images that copies are planted of, in memory, to say how many would be found; 0 for none.

    Raises:
        UserError: something that the user can fix; what is finished stays, and nothing is overwritten.
        PartsFailed: some parts could not be made; all others are.
    """
    references, fingerprints = split_against(against)
    config = dedup_settings(dataset, references, settings or {})
    return rewrite(
        "dedup",
        config,
        out,
        action=action,
        unreadable=unreadable,
        link=link,
        plant=plant,
        report=report,
        fingerprints=fingerprints,
    )


def dedup_settings(dataset: str, against: Sequence[str], changes: Mapping[str, Any]) -> Config:
    """The settings of a run that compares a dataset with itself, and with references where there are any.

    Raises:
        ConfigError: a change names a setting that has no bearing on this job, or turns it off.
    """
    config = settings_of("dedup", dataset, against, changes)
    if not config.dedup.self_.enabled:
        raise ConfigError(
            "dedup.self.enabled: lvd dedup removes copies within the dataset; lvd decontaminate leaves them alone"
        )
    return config
