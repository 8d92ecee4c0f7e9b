"""Whether an image decodes to its last pixel: the first stage of the pass over pixels."""

from collections.abc import Sequence

import pyarrow as pa

from curation.config import ImageConfig
from curation.engine.contract import Output, StageSpec
from curation.imaging.decode import Pixels

__all__ = ["DecodeCheck"]


class DecodeCheck:
    """The stage `decode`. Its drops are found by the pass itself, whose one decode serves this and all other stages."""

    def __init__(self, limits: ImageConfig) -> None:
        self.spec = StageSpec(
            name="decode",
            version=1,
            after="fetch",
            reads={"fetch": ["tar", "offset", "length"]},
            schema=pa.schema([]),
            settings=limits.model_dump(),
        )

    def setup(self) -> None:
        pass

    def process_images(self, images: Sequence[Pixels]) -> Output:
        return Output({})
