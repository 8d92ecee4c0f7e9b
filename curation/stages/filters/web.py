"""What comes from the web: the pools for which the filters of `safety` are on unless a setting says otherwise."""

from collections.abc import Iterable

from curation.config import WEB_POOL, Config
from curation.errors import UserError
from curation.formats.dataset import detect

__all__ = ["is_from_web", "with_roles"]


def is_from_web(datasets: Iterable[str]) -> bool:
    """Whether any dataset is URLs or crawl files, rather than images that somebody has.

    One that is not there is none of these: `curate` refuses it before it does anything, and who reads a run goes on.
    """
    return any(map(_has_urls, datasets))


def _has_urls(data: str) -> bool:
    try:
        return detect(data).has_urls
    except UserError:
        return False


def with_roles(config: Config) -> Config:
    """The config with `pool` or nothing where `safety` says `web_pool`.

    A run's own config is resolved once, when `curate` begins; so what reads a run opens no dataset.
    """
    safety = config.safety
    given = {name: getattr(safety, name) for name in ("nsfw_on", "faces_on")}
    if not any(WEB_POOL in roles for roles in given.values()):
        return config
    is_used = safety.nsfw != "off" or safety.faces != "keep"
    pool = ["pool"] if is_used and is_from_web(config.pool) else []
    named = {
        name: sorted({*pool, *roles} - {WEB_POOL}) if WEB_POOL in roles else roles for name, roles in given.items()
    }
    return config.model_copy(update={"safety": safety.model_copy(update=named)})
