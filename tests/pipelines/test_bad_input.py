"""What a user can get wrong: each is one line that says what, where and what to do, and changes nothing on disk."""

import fcntl
import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from curation.config import dump_yaml, parse_yaml
from curation.models import ClassicalDescriptor


@pytest.fixture
def config_file(configure, tmp_path):
    """Writes the test config to a file, with changes, and returns its path."""

    def write(**changes):
        path = tmp_path / "config.yaml"
        path.write_text(dump_yaml(parse_yaml(configure().to_yaml()) | changes))
        return path

    return write


def one_line(answer, code=2):
    """The one line of an error, without its `lvd: `."""
    assert answer.code == code, answer
    assert "Traceback" not in answer.out + answer.err
    (line,) = answer.err.splitlines()
    assert line.startswith("lvd: ")
    return line.removeprefix("lvd: ")


SETTINGS = [
    ("dedup.slf.threshold=0.5", "dedup.slf: unknown key; valid keys here: neighbours, exact_up_to, "),
    ("dedup.self.treshold=0.5", "dedup.self.treshold: unknown key; valid keys here: enabled, threshold"),
    ("colour=red", "colour: unknown key; valid keys here: seed, pool, seeds, references, exclude, parts, runner, "),
    ("runner.kid=inline", "runner.kid: unknown key; valid keys here: kind, workers, threads, ray_address"),
    ("parts.rows=many", "parts.rows: input should be a valid integer (got 'many')"),
    ("parts.rows=2.5", "parts.rows: input should be a valid integer (got 2.5)"),
    ("parts.rows=true", "parts.rows: input should be a valid integer (got True)"),
    ("parts.rows=0", "parts.rows: input should be greater than or equal to 1 (got 0)"),
    ("dedup.self.threshold=1.5", "dedup.self.threshold: input should be less than or equal to 1 (got 1.5)"),
    ("dedup.self.enabled=1", "dedup.self.enabled: input should be a valid boolean (got 1)"),
    ("hash.bits=60", "hash.bits: input should be a multiple of 8 (got 60)"),
    ("hash.method=md5", "hash.method: input should be 'pca' or 'phash' (got 'md5')"),
    ("pool=", "pool: input should be a valid list (got None)"),
    ("pool=[]", "pool: list should have at least 1 item after validation, not 0 (got [])"),
    ("dedup=5", "dedup: input should be a valid dictionary or instance of DedupConfig (got 5)"),
    ("dedup.self.threshold", "--set dedup.self.threshold: expected KEY=VALUE, as in --set dedup.self.threshold=0.6"),
    ("=3", "--set =3: expected KEY=VALUE"),
    ("a..b=3", "--set a..b=3: expected KEY=VALUE"),
    ("pool=[a", "--set pool=[a: is not valid YAML (line 1: "),
    ("exclude=[{name: x}]", "exclude.0.data: missing; add it"),
    ("exclude=[{name: x, data: d, threshold: 2}]", "exclude.0.threshold: input should be"),
    (
        "exclude=[{name: x, data: d}, {name: x, data: e}]",
        "exclude: the name 'x' is used twice; give each set its own",
    ),
    ("retrieval.probes=0", "retrieval.probes: input should be greater than or equal to 1 (got 0)"),
    (
        "semantic_dedup.thresold=0.9",
        "semantic_dedup.thresold: unknown key; valid keys here: enabled, threshold, neighbours, min_similarity_to_kept",
    ),
]


@pytest.mark.parametrize(("setting", "message"), SETTINGS, ids=[setting for setting, _ in SETTINGS])
def test_a_setting_that_cannot_be_meant(lvd, config_file, tmp_path, setting, message):
    line = one_line(lvd("curate", config_file(), "--out", tmp_path / "run", "--set", setting))
    assert message in line
    assert not (tmp_path / "run").exists()


def test_a_second_override_under_a_single_value(lvd, config_file, tmp_path):
    line = one_line(
        lvd("curate", config_file(), "--out", tmp_path / "run", "--set", "hash=3", "--set", "hash.radius=1")
    )
    assert line == "--set hash.radius=1: hash was already set to a single value"


def test_all_mistakes_of_a_config_are_told_at_once(lvd, config_file, tmp_path):
    path = config_file(parts={"rows": "x"}, seeds=[{"name": "a b", "data": "d", "near": 3}])
    line = one_line(lvd("curate", path, "--out", tmp_path / "run"))
    assert line.startswith(f"{path}: ")
    assert "seeds.0.name: string should match pattern" in line
    assert "seeds.0.near: unknown key; valid keys here: name, data, as_is, retrieve, neighbours" in line
    assert "parts.rows: input should be a valid integer (got 'x')" in line


FILES = [
    (None, "cannot be read ([Errno 2] No such file or directory"),
    (b"pool: [a\nseeds: }", "is not valid YAML"),
    (b"", "holds no settings; it should map keys such as pool and seeds to values"),
    (b"- pool", "holds no settings"),
    (b"\xff\xfe\x00", "cannot be read ('utf-8' codec"),
    (b"pool: [x]\n", "seeds: missing; add it"),
    (b"1: 2\npool: [x]\nseeds: [{name: a, data: b}]\n", "1: "),
]


@pytest.mark.parametrize(("data", "message"), FILES, ids=[repr(data) for data, _ in FILES])
def test_a_config_file_that_is_none(lvd, tmp_path, data, message):
    path = tmp_path / "my.yaml"
    if data is not None:
        path.write_bytes(data)
    line = one_line(lvd("curate", path, "--out", tmp_path / "run"))
    assert line.startswith(f"{path}: ")
    assert message in line
    assert not (tmp_path / "run").exists()


COMMANDS = [
    (("curate",), "name a CONFIG file, or at least one --pool and one --seed dataset"),
    (("curate", "--pool", "x"), "name a CONFIG file, or at least one --pool and one --seed dataset"),
    (("curate", "--pool", "x", "--seed", "y"), "--out: missing; name the directory for the run"),
    (("curate", "c.yaml", "--pool", "x"), "cannot be mixed with a config file; set them there"),
    (("curate", "c.yaml", "--exclude", "x"), "cannot be mixed with a config file; set them there"),
    (("curate", "--nonsense"), "No such option: --nonsense"),
    (("nonsense",), "No such command 'nonsense'"),
    (("funnel",), "Missing argument 'RUN'"),
    (("funnel", "nowhere"), "nowhere: holds no run (no config.yaml); name the directory given to `lvd curate --out`"),
    (("verify", "nowhere"), "nowhere: holds no run"),
    (("why", "nowhere", "key"), "nowhere: holds no run"),
]


@pytest.mark.parametrize(("arguments", "message"), COMMANDS, ids=[" ".join(arguments) for arguments, _ in COMMANDS])
def test_a_command_line_that_cannot_be_meant(lvd, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert message in one_line(lvd(*arguments))
    assert list(tmp_path.iterdir()) == []


MISSING = [
    ({"pool": ["typo"]}, "typo: does not exist; check the path of the dataset"),
    ({"pool": ["no-*.tar"]}, "no-*.tar: does not exist; check the path of the dataset"),
    ({"pool": ["{a,b}.tar"]}, "a.tar: does not exist; check the path of the dataset"),
    ({"seeds": [{"name": "s", "data": "typo"}]}, "typo: does not exist; check the path of the dataset"),
    ({"references": [{"name": "r", "data": "typo"}]}, "typo: does not exist; check the path of the dataset"),
    ({"exclude": [{"name": "e", "data": "typo"}]}, "typo: does not exist; check the path of the dataset"),
    ({"pool": ["notes.md"]}, "notes.md: is no dataset that lvd knows; it should be a folder of images, .tar shards"),
    ({"pool": ["bad.parquet"]}, "is not a readable Parquet file"),
    ({"pool": ["other.parquet"]}, "has no column of images (image, jpg"),
    ({"copy_descriptors": {"model": "sscd"}}, "model 'sscd': unknown; name timm/<model>"),
    ({"embed": {"model": "classical/hog"}}, "model 'classical/hog': unknown classical descriptor"),
    ({"embed": {"model": "timm/no_such_model"}}, "no_such_model"),
    (
        {"embed": {"model": "timm/vit_tiny_patch16_224", "weights": "no.safetensors"}},
        "weights no.safetensors is no file; give the path of a checkpoint file",
    ),
    (
        {"copy_descriptors": {"model": "timm/resnet18", "weights": "notes.md"}},
        "weights notes.md are of no kind that is read here",
    ),
]


@pytest.mark.parametrize(("changes", "message"), MISSING, ids=[str(changes) for changes, _ in MISSING])
def test_data_and_models_that_cannot_be_had(lvd, config_file, tmp_path, monkeypatch, changes, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.md").write_text("# notes")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not really PAR1")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "other.parquet")
    assert message in one_line(lvd("curate", config_file(**changes), "--out", "run"))
    assert not (tmp_path / "run").exists()


def test_a_tar_that_is_none(lvd, config_file, tmp_path):
    (tmp_path / "pool.tar").write_bytes(b"x" * 2000)
    line = one_line(lvd("curate", config_file(pool=[str(tmp_path / "pool.tar")]), "--out", tmp_path / "run"))
    assert line.startswith(f"{tmp_path / 'pool.tar'}: is not a readable tar (")
    assert line.endswith("; fix or leave out this shard")


FOLDERS = {"pool": "pool", "seeds": "seeds/x", "references": "references/x", "exclude": "excludes/x"}
"""Where a run keeps the collections of a config key."""


@pytest.mark.parametrize("key", FOLDERS)
def test_an_empty_dataset(lvd, config_file, tmp_path, key):
    (tmp_path / "empty").mkdir()
    data = str(tmp_path / "empty")
    changes = {key: [data] if key == "pool" else [{"name": "x", "data": data}]}
    line = one_line(lvd("curate", config_file(**changes), "--out", tmp_path / "run"))
    path = FOLDERS[key]
    assert line == f"{path}: no images found in {data}; check that this is the dataset"


@pytest.mark.parametrize("key", FOLDERS)
def test_a_dataset_whose_images_all_fail(lvd, config_file, dataset, tmp_path, key):
    (tmp_path / "bad").mkdir()
    shutil.copy(dataset.pool / "bad" / "garbage.jpg", tmp_path / "bad")
    shutil.copy(dataset.pool / "bad" / "empty.jpg", tmp_path / "bad")
    data = str(tmp_path / "bad")
    changes = {key: [data] if key == "pool" else [{"name": "x", "data": data}]}
    answer = lvd("curate", config_file(**changes), "--out", tmp_path / "run")
    path = FOLDERS[key]
    assert answer.code == 2
    assert "Traceback" not in answer.err
    assert answer.err.splitlines()[-1] == (  # behind the lines of progress
        f"lvd: {path}: none of its 2 images can be used (1 empty_body, 1 not_an_image); "
        "fix the dataset, or the setting that drops them"
    )
    assert answer.err.count("lvd: ") == 1


def test_more_clusters_than_images(lvd, config_file, tmp_path):
    answer = lvd("curate", config_file(clusters={"count": 1000}), "--out", tmp_path / "run")
    assert answer.code == 2
    assert answer.err.splitlines()[-1] == (
        "lvd: clusters.count: 1000 clusters cannot be made of 100 images; set it to 100 or less"
    )


def test_more_neighbours_than_images(lvd, config_file, dataset, finished):
    for folder in ("seeds/seeds/seed_knn", "selection", "export", "shards"):
        shutil.rmtree(finished / folder)
    seeds = [{"name": "seeds", "data": str(dataset.seeds), "neighbours": 101}]
    answer = lvd("curate", config_file(seeds=seeds), "--out", finished)
    assert answer.code == 2
    assert answer.err.splitlines()[-1] == (
        "lvd: seeds/seeds: 101 neighbours cannot be found in a pool of 100 images; set its neighbours to 100 or less"
    )
    assert not (finished / "seeds" / "seeds" / "seed_knn").exists()
    assert not (finished / "selection").exists()


def test_a_seed_set_all_of_whose_clusters_fall_under_the_threshold(lvd, config_file, dataset, finished, shards_of):
    """Also where other sets bring images: what was asked for would be missing without a word."""
    before = shards_of(finished)
    few = {"name": "few", "data": str(dataset.seeds), "retrieve": "cluster", "min_seed_images": 8}
    seeds = [{"name": "seeds", "data": str(dataset.seeds), "as_is": True}, few]
    answer = lvd("curate", config_file(seeds=seeds, clusters={"count": 1}), "--out", finished)
    assert answer.code == 2
    assert answer.err.splitlines()[-1] == (
        "lvd: seeds/few: no cluster holds more than 8 of its 8 images, the fullest 8, so it retrieves nothing; set its "
        "min_seed_images to 7 or less, make fewer clusters (clusters.count), or use retrieve: sample"
    )
    assert shards_of(finished) == before


@pytest.mark.parametrize("value", [np.nan, 0.0], ids=["NaN", "zeros"])
def test_seeds_that_embed_to_nothing(lvd, config_file, dataset, finished, tmp_path, monkeypatch, encoded, value):
    """A model that gives no vector for white images, and seeds that are white."""
    embed = ClassicalDescriptor.embed

    def blind(self, images):
        vectors = embed(self, images)
        white = [float(image.mean()) > 250 for image in images]
        return np.where(np.array(white)[:, None], np.float32(value), vectors)

    monkeypatch.setattr(ClassicalDescriptor, "embed", blind)
    (tmp_path / "white").mkdir()
    for number in range(3):
        image = Image.new("RGB", (90, 80 + number), "white")
        (tmp_path / "white" / f"{number}.jpg").write_bytes(encoded(image))
    seeds = [{"name": "white", "data": str(tmp_path / "white")}]
    for folder in ("selection", "shards"):
        shutil.rmtree(finished / folder)
    answer = lvd("curate", config_file(seeds=seeds), "--out", finished)
    assert answer.code == 2
    assert answer.err.splitlines()[-1] == (
        "lvd: seeds/white: none of its 3 images can be used (3 non_finite); "
        "fix the dataset, or the setting that drops them"
    )
    assert not (finished / "seeds" / "white" / "clusters").exists()
    assert not (finished / "selection").exists()


@pytest.mark.parametrize("where", ["pool", "seeds/seeds"])
def test_embeddings_that_are_not_finite(lvd, config_file, finished, where):
    file = finished / where / "embeddings" / "part-00000.parquet"
    table = pq.read_table(file)
    vectors = np.array(table["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False))
    vectors[5] = np.nan
    kind = table.schema.field("vector").type
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors), kind.list_size)
    if table["vector"].null_count:
        column = column.take(_numbers(table["vector"]))
    pq.write_table(table.set_column(0, "vector", column.cast(kind)), file)
    for folder in (f"{where}/clusters", "seeds/seeds/seed_knn", "selection", "shards"):
        shutil.rmtree(finished / folder)
    answer = lvd("curate", config_file(), "--out", finished)
    assert answer.code == 2
    assert f"{file}: 1 of " in answer.err.splitlines()[-1]
    assert "vectors hold NaN or infinity, the first at live image 0; delete this file" in answer.err.splitlines()[-1]
    assert not (finished / where / "clusters" / "part-00000.parquet").exists()
    assert not (finished / "selection").exists()


def _numbers(column):
    """Of each row its number among those that are not null, so that nulls stay where they were."""
    valid = column.combine_chunks().is_valid().to_numpy(zero_copy_only=False)
    return pa.array(np.cumsum(valid) - 1, pa.int64(), mask=~valid)


def test_an_unknown_step(lvd, config_file, tmp_path):
    line = one_line(lvd("curate", config_file(), "--out", tmp_path / "run", "--until", "dedupe"))
    assert line.startswith(
        "--until dedupe: no such step; the steps are extract_urls, dedup_urls, list, fetch, decode, quality, safety, "
        "hashes, copy_descriptors, bias, "
        "copy_knn, local_features, verify_copies, groups, verify_kept, dedup"
    )
    assert not (tmp_path / "run").exists()
    line = one_line(lvd("curate", config_file(), "--out", tmp_path / "run", "--until", "near"))
    assert line.startswith("--until near: is called copy_knn now; the steps are extract_urls")


def test_an_out_that_cannot_be_a_directory(lvd, config_file, tmp_path):
    (tmp_path / "file").write_text("precious")
    for out in (tmp_path / "file", tmp_path / "file" / "run", "/proc/no/run"):
        line = one_line(lvd("curate", config_file(), "--out", out))
        assert line.startswith(f"{out}: cannot be used as a run directory (")
        assert line.endswith("; choose another --out")
    assert (tmp_path / "file").read_text() == "precious"


def test_no_permission_to_write(lvd, config_file, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    (tmp_path / "locked").mkdir(mode=0o500)
    line = one_line(lvd("curate", config_file(), "--out", tmp_path / "locked"))
    assert line.startswith(f"{tmp_path / 'locked'}")
    assert "Permission denied" in line


def test_a_directory_that_holds_something_else(lvd, config_file, tmp_path, snapshot):
    (tmp_path / "home" / "deep").mkdir(parents=True)
    (tmp_path / "home" / "deep" / ".tmp-mine").write_text("precious")
    before = snapshot(tmp_path / "home")
    line = one_line(lvd("curate", config_file(), "--out", tmp_path / "home"))
    assert line == f"{tmp_path / 'home'}: is not empty and holds no run; choose another --out"
    assert snapshot(tmp_path / "home") == before


ANOTHER = [
    ({"seed": 1}, "holds a run made with another `seed` (0, now 1); choose another --out"),
    ({"parts": {"rows": 10}}, "holds a run made with another `parts` ({rows: 40}, now {rows: 10}); choose another"),
    ({"pool": "seeds"}, "holds a run of another pool ("),
    ({"seeds": "pool"}, "seeds/seeds was made from "),
    ({"references": "pool"}, "references/test was made from "),
]


@pytest.mark.parametrize(("changes", "message"), ANOTHER, ids=[str(changes) for changes, _ in ANOTHER])
def test_a_directory_that_holds_another_run(lvd, config_file, dataset, finished, snapshot, changes, message):
    folders = {"pool": str(dataset.pool), "seeds": str(dataset.seeds)}
    named = {"pool": lambda f: [f], "seeds": lambda f: [{"name": "seeds", "data": f}]}
    named["references"] = lambda f: [{"name": "test", "data": f}]
    changes = {key: named[key](folders[value]) if key in named else value for key, value in changes.items()}
    before = snapshot(finished)
    line = one_line(lvd("curate", config_file(**changes), "--out", finished))
    assert line.startswith(f"{finished}: ")
    assert message in line
    assert snapshot(finished) == before


CONFIGS = [b"pool: [", b"", b"\xff\xfe", b"pool: 3", b"- 1", b"{a: {b: ]}\nc"]


@pytest.mark.parametrize("data", CONFIGS, ids=repr)
@pytest.mark.parametrize("command", ["curate", "funnel", "verify", "why"])
def test_a_damaged_record_of_the_config(lvd, config_file, finished, snapshot, data, command):
    (finished / "config.yaml").write_bytes(data)
    before = snapshot(finished)
    rest = {"curate": (config_file(), "--out", finished), "why": (finished, "x")}.get(command, (finished,))
    line = one_line(lvd(command, *rest))
    assert line.startswith(f"{finished}/config.yaml: is not the config of a run of this version (")
    assert snapshot(finished) == before


def test_a_run_that_another_process_works_on(lvd, config_file, finished, snapshot):
    before = snapshot(finished)
    directory = os.open(finished, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        line = one_line(lvd("curate", config_file(), "--out", finished))
    finally:
        os.close(directory)
    assert line == f"{finished}: another process is working on this run; wait for it or stop it"
    assert snapshot(finished) == before


PARTS = [
    "pool/list/part-00001.parquet",
    "pool/fetch/part-00000.parquet",
    "pool/copy_descriptors/part-00002.parquet",
    "pool/dedup/part-00000.parquet",
    "seeds/seeds/seed_knn/part-00000.parquet",
    "selection/part-00001.parquet",
    "export/part-00000.parquet",
]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("damage", ["cut", "empty", "text"])
def test_a_damaged_part_file_names_itself_and_is_remade_once_deleted(
    lvd, config_file, finished, snapshot, shards_of, part, damage
):
    shards = shards_of(finished)
    path = finished / part
    data = path.read_bytes()
    path.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "text": b"PAR1" + b"x" * 500 + b"PAR1"}[damage])
    before = snapshot(finished)
    line = one_line(lvd("curate", config_file(), "--out", finished))
    assert line.startswith(f"{path}: is damaged (")
    assert line.endswith("; delete this file and run the same command again to remake it")
    assert snapshot(finished) == before
    if damage == "cut":
        path.unlink()
        assert lvd("curate", config_file(), "--out", finished).code == 0
        assert shards_of(finished) == shards
        assert lvd("verify", finished).code == 0


@pytest.mark.parametrize("name", ["pca_hash", "copy_descriptors_whitening", "embeddings_whitening", "centroids"])
def test_a_damaged_artifact(lvd, config_file, finished, shards_of, name):
    shards = shards_of(finished)
    path = finished / "artifacts" / f"{name}.safetensors"
    for data in (b"", b"\x08\0\0\0\0\0\0\0{}      ", path.read_bytes()[:-10]):
        path.write_bytes(data)
        line = one_line(lvd("curate", config_file(), "--out", finished))
        assert line.startswith(f"{path}: is damaged (")
        assert line.endswith("; delete this file and run the same command again")
    path.unlink()
    assert lvd("curate", config_file(), "--out", finished).code == 0
    assert shards_of(finished) == shards


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"format": "lvd-shards/9"}', b"\xff"], ids=repr)
def test_a_damaged_manifest(lvd, config_file, finished, shards_of, data):
    shards = shards_of(finished)
    path = finished / "shards" / "manifest.json"
    path.write_bytes(data)
    for command in (("curate", config_file(), "--out", finished), ("verify", finished)):
        line = one_line(lvd(*command))
        assert line.startswith(f"{path}: is damaged (")
        assert line.endswith("; delete it and run the same command again to remake it")
    path.unlink()
    assert lvd("curate", config_file(), "--out", finished).code == 0
    assert shards_of(finished) == shards


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"rows": 3}'], ids=repr)
def test_a_damaged_composition_table(lvd, config_file, finished, data):
    path = finished / "selection" / "composition.json"
    path.write_bytes(data)
    assert one_line(lvd("curate", config_file(), "--out", finished)).startswith(f"{path}: is damaged (")


def test_a_pool_file_that_is_gone_is_a_drop_and_not_an_error(lvd, config_file, dataset, tmp_path):
    pool = shutil.copytree(dataset.pool, tmp_path / "pool")
    run = ("curate", config_file(pool=[str(pool)]), "--out", tmp_path / "run")
    assert lvd(*run, "--until", "list").code == 0
    (pool / "c0" / "000.jpg").unlink()
    assert lvd(*run, "--until", "fetch").code == 0
    assert "1 unreadable_file" in lvd("funnel", tmp_path / "run").out
