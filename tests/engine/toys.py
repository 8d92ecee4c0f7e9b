"""Stages for pipelines of a few nodes, and what puts a run through these."""

import io

import numpy as np
import pyarrow as pa
from PIL import Image

from curation.engine.contract import Output, StageSpec
from curation.engine.execution import Execution
from curation.engine.graph import Job, Pipeline
from curation.engine.locations import IMAGES, STORED, changed_tar
from curation.engine.progress import Quiet
from curation.engine.runner import open_runner
from curation.pipeline import CURATE
from curation.stages.knn.vectors import VECTOR

INGEST = [CURATE.node(name) for name in ("list", "fetch", "decode")]


class Noted(Quiet):
    """The names of what was worked on, in order."""

    def __init__(self):
        self.names = []

    def stage(self, name, rows):
        self.names.append(name)
        return super().stage(name, rows)


def done(run, *nodes, until=None):
    """Bring a run up to date with the nodes behind those that bring images in; what was worked on."""
    progress = Noted()
    with open_runner(run.config.runner) as runner:
        Execution(Job(run, Pipeline((*INGEST, *nodes)), until), runner, progress).do()
    return progress.names


class Sizes:
    """A part stage: the length of each image's file."""

    def __init__(self, site):
        self.spec = StageSpec(site.node, 1, site.after, {"fetch": ["length"]}, pa.schema([("size", pa.int64())]), {})

    def setup(self):
        pass

    def process(self, rows, place):
        return Output({"size": rows["length"].combine_chunks()})


class Looks:
    """An image stage: the shorter side and the mean of each image that it is given."""

    def __init__(self, site):
        schema = pa.schema([("side", pa.int64()), ("mean", pa.float64())])
        self.spec = StageSpec(site.node, 1, site.after, site.image_columns, schema, {"side": site.side})

    def setup(self):
        pass

    def process(self, images, sources):
        sides, means = [min(image.shape[:2]) for image in images], [float(image.mean()) for image in images]
        return Output({"side": pa.array(sides, pa.int64()), "mean": pa.array(means)})


class LooksClosely(Looks):
    """The same, which needs larger images."""

    @staticmethod
    def decoded_for(config):
        return 64


class Darkens:
    """An image stage that changes images, as `safety` does: each is stored with half its brightness."""

    leaves = staticmethod(changed_tar)

    def __init__(self, site):
        self.spec = StageSpec(site.node, 1, site.after, IMAGES, STORED, {"side": site.side})

    def setup(self):
        pass

    def process(self, images, sources):
        return Output({}, images={at: darker(source) for at, source in enumerate(sources)})


def darker(source):
    file = io.BytesIO()
    Image.open(io.BytesIO(source)).point(lambda value: value // 2).save(file, "PNG")
    return file.getvalue()


class Vectors:
    """A part stage: for each image a vector of 16 numbers that its hash decides."""

    def __init__(self, site):
        schema = pa.schema([(VECTOR, pa.list_(pa.float16(), 16))])
        self.spec = StageSpec(site.node, 1, site.after, {"fetch": ["sha256"]}, schema, {})

    def setup(self):
        pass

    def process(self, rows, place):
        hashes = rows["sha256"].to_pylist()
        drawn = [np.random.default_rng(list(digest)).normal(size=16) for digest in hashes]
        unit = np.array([vector / np.linalg.norm(vector) for vector in drawn], np.float16).reshape(-1, 16)
        return Output({VECTOR: pa.FixedSizeListArray.from_arrays(pa.array(unit.ravel()), 16)})
