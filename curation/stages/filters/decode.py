"""Whether an image decodes to its last pixel: the first stage of the pass over pixels."""

from collections.abc import Sequence

import pyarrow as pa

from curation.config import ImageConfig
from curation.engine.contract import Output, StageSpec
from curation.engine.graph import Site
from curation.engine.locations import PLACE, SAMPLES
from curation.imaging.decode import Pixels

__all__ = ["Decode"]


class Decode:
    """The stage `decode`: each image is decoded once, with a guard on its header; the same decode serves the stages
    after it.

    Its drops come from the pass itself.
    """

    milliseconds = 5

    def __init__(self, limits: ImageConfig) -> None:
        self.spec = StageSpec(
            name="decode",
            version=1,
            after=SAMPLES,
            reads={SAMPLES: PLACE},
            adds=pa.schema([]),
            settings=limits.model_dump(),
        )

    @classmethod
    def at(cls, site: Site) -> "Decode":
        return cls(site.config.image)

    def setup(self) -> None:
        pass

    def process(self, images: Sequence[Pixels], sources: Sequence[bytes]) -> Output:
        return Output({})
