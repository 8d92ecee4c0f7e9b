"""A run: one directory that holds everything made from one config.

The directory remembers the datasets it was made from. Settings may change between commands, and exactly what
depends on them is redone; another pool under the same directory is refused, so that no run is overwritten by mistake.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator

from curation.config import Config, Role, dump_yaml, parse_config, parse_yaml
from curation.errors import ConfigError, RunError
from curation.run.parts import Collection
from curation.run.store import Store

__all__ = ["Run", "role_of"]

CONFIG = "config.yaml"


class Run:
    """A run directory and its config.

    Args:
        root: a local path or any fsspec URL.
    """

    def __init__(self, root: str, config: Config) -> None:
        self.store = Store(root)
        self.config = config

    @classmethod
    def load(cls, root: str) -> "Run":
        """Open a run that exists; RunError where there is none."""
        config = _stored_config(Store(root))
        if config is None:
            raise RunError(f"{root}: holds no run (no {CONFIG}); name the directory given to `lvd curate `out``")
        return cls(root, config)

    def begin(self) -> None:
        """Make the directory this config's run: check that it is not another's, and record the config.

        Raises:
            RunError: the directory holds something else, another run, or cannot be written.
        """
        stored = _stored_config(self.store)
        if stored is not None:
            self._refuse_other(stored)
        elif self.store.names() or self.store.folders():
            raise RunError(f"{self.store.root}: is not empty and holds no run; choose another `out`")
        self.store.sweep()
        if stored != self.config:
            self.store.write_bytes(CONFIG, self.config.to_yaml().encode())

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes on this machine from working on the run at the same time. A killed one holds no lock."""
        if not self.store.is_local:
            yield
            return
        try:
            os.makedirs(self.store.path(), exist_ok=True)
            directory = os.open(self.store.path(), os.O_RDONLY)
        except OSError as error:
            raise RunError(
                f"{self.store.root}: cannot be used as a run directory ({error.strerror}); choose another `out`"
            ) from error
        try:
            try:
                fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunError(
                    f"{self.store.root}: another process is working on this run; wait for it or stop it"
                ) from error
            yield
        finally:
            os.close(directory)

    @property
    def pool(self) -> Collection:
        return Collection(self.store, "pool")

    def seeds(self, name: str) -> Collection:
        return Collection(self.store, f"seeds/{name}")

    def references(self, name: str) -> Collection:
        return Collection(self.store, f"references/{name}")

    def excludes(self, name: str) -> Collection:
        return Collection(self.store, f"excludes/{name}")

    @property
    def selection(self) -> Collection:
        """What was chosen: its parts, `selection/part-*.parquet`, are the shards' rows in their final order."""
        return Collection(self.store, "")

    def collection(self, path: str) -> Collection:
        """A collection by its path in the run, such as `seeds/birds`."""
        return Collection(self.store, path)

    def collections(self) -> dict[str, list[str]]:
        """Datasets of the config by collection path, in the order in which they are worked on."""
        datasets = {"pool": list(self.config.pool)}
        datasets.update({f"seeds/{seed.name}": [seed.data] for seed in self.config.seeds})
        datasets.update({f"references/{reference.name}": [reference.data] for reference in self.config.references})
        datasets.update({f"excludes/{exclude.name}": [exclude.data] for exclude in self.config.exclude})
        return datasets

    def _refuse_other(self, stored: Config) -> None:
        """A setting may change; what the rows of existing parts came from may only grow."""
        root = self.store.root
        missing = [data for data in stored.pool if data not in self.config.pool]
        if missing and self._has_rows("pool"):
            raise RunError(
                f"{root}: holds a run of another pool ({missing[0]}); choose another `out`, or name that pool"
            )
        for field in ("seed", "parts"):
            if getattr(stored, field) != getattr(self.config, field):
                raise RunError(
                    f"{root}: holds a run made with another `{field}` ({_plain(stored, field)}, "
                    f"now {_plain(self.config, field)}); choose another `out`"
                )
        for field, folder in (("seeds", "seeds"), ("references", "references"), ("exclude", "excludes")):
            before = {item.name: item.data for item in getattr(stored, field)}
            for item in getattr(self.config, field):
                if before.get(item.name, item.data) != item.data and self._has_rows(f"{folder}/{item.name}"):
                    raise RunError(
                        f"{root}: {folder}/{item.name} was made from {before[item.name]}, not {item.data}; "
                        "give the new set another name, or choose another `out`"
                    )

    def _has_rows(self, path: str) -> bool:
        """Whether a collection was listed: one that failed before that (a wrong path, say) binds nobody."""
        return bool(self.store.folders(path))


def role_of(path: str) -> Role:
    """What a collection is for, by its path in the run."""
    roles: dict[str, Role] = {"pool": "pool", "seeds": "seed", "references": "reference", "excludes": "exclude"}
    return roles[path.split("/")[0]]


def _plain(config: Config, field: str) -> str:
    return dump_yaml(config.model_dump(mode="json")[field], flow=True).strip()


def _stored_config(store: Store) -> Config | None:
    if not store.exists(CONFIG):
        return None
    try:
        return parse_config(parse_yaml(store.read_bytes(CONFIG), CONFIG), CONFIG)
    except (TypeError, ValueError, ConfigError) as error:
        cause = " ".join(str(error).split())
        raise RunError(
            f"{store.url(CONFIG)}: is not the config of a run of this version ({cause}); choose another `out`"
        ) from error
