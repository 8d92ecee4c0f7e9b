"""The second job: a dataset without copies of reference images, such as a benchmark's test set, and a certificate.

The dataset is written again by `pipelines/rewrite.py`, as for `lvd dedup`; copies within it are left alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from curation.config import Config
from curation.decontaminate.certificate import Action, Certificate
from curation.decontaminate.verdicts import Unreadable
from curation.engine.progress import Progress
from curation.errors import ConfigError
from pipelines.rewrite import rewrite, settings_of, split_against

__all__ = ["decontaminate", "settings_for"]


def decontaminate(
    dataset: str,
    against: Sequence[str],
    out: str,
    *,
    settings: Mapping[str, Any] | None = None,
    action: Action = "write",
    unreadable: Unreadable = "keep",
    link: bool = True,
    plant: int = 60,
    report: Progress | None = None,
) -> Certificate:
    """Find and remove the images of a dataset that are copies of reference images, or continue to.

    Args:
        dataset: a folder of images, WebDataset tars, or Parquet files with images.
        against: reference sets, each of any of these kinds; or files of fingerprints. What those find is listed as
            suspects, and stays.
        action: write the dataset again without copies, only list them, or rewrite shards in place.
        out: a folder for the clean dataset (`data/`), the certificate, and the work files (`run/`).
        settings: what differs from the defaults, nested as in a config file: `{"dedup": {"verify": "off"}}`.
        unreadable: what becomes of files that no decoder takes, and that can thus not be compared.
        link: hard links instead of copies, where a file is carried whole and the file system can.
        plant: reference images that copies are planted of, in memory, to say how many would be found; 0 for none.

    Raises:
        UserError: something that the user can fix; what is finished stays, and nothing is overwritten.
        PartsFailed: some parts could not be made; all others are.
    """
    references, fingerprints = split_against(against)
    make = settings_for if references or not fingerprints else _settings
    config = make(dataset, references, settings or {})
    return rewrite(
        "decontaminate",
        config,
        out,
        action=action,
        unreadable=unreadable,
        link=link,
        plant=plant,
        report=report,
        fingerprints=fingerprints,
    )


def settings_for(dataset: str, against: Sequence[str], changes: Mapping[str, Any]) -> Config:
    """The settings of a run that compares a dataset with references and does nothing else.

    Raises:
        ConfigError: there is no reference, or a change names a setting that has no bearing on this job.
    """
    if not against:
        raise ConfigError("`against`: missing; name the images that must not be in the dataset")
    return _settings(dataset, against, changes)


def _settings(dataset: str, against: Sequence[str], changes: Mapping[str, Any]) -> Config:
    if isinstance(dedup := changes.get("dedup"), dict) and "self" in dedup:
        raise ConfigError("dedup.self: is about copies within a dataset, which lvd decontaminate leaves alone")
    return settings_of("decontaminate", dataset, against, changes)
