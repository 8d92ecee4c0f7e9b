"""What is stored of a picture that was brought in: the bytes that came, without metadata, or a smaller picture."""

import hashlib
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

import curation.crawl.fetch
from curation.config import CrawlConfig, ImageConfig
from curation.crawl.fetch import Fetched
from curation.drops import Dropped, DropReason
from curation.imaging.decode import decode, identify
from curation.imaging.reencode import storable
from curation.run.directory import Run
from curation.stages.ingest.fetch import Fetch
from pipelines.curate import curate

LIMITS = ImageConfig(min_side=1)
SMALL = ImageConfig(min_side=1, max_side=64, quality=90)
SECRET = "Lat 48.2082 N"


def exif(turn):
    tags = Image.Exif()
    tags[0x0112] = turn
    tags[0x010E] = SECRET
    return tags.tobytes()


def smaller(image, side):
    scale = side / max(image.size)
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)


def psnr(one, other):
    return 10 * np.log10(255**2 / np.mean((np.asarray(one, float) - np.asarray(other, float)) ** 2))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_larger_pictures_become_jpegs_of_the_side_asked_for(photo, encoded, format):
    data = encoded(photo(1, width=640, height=427), format)
    kept = storable(data, SMALL)
    assert (kept.header.format, kept.header.width, kept.header.height) == ("JPEG", 64, 43)
    assert identify(kept.data) == kept.header
    assert kept.sha256 == hashlib.sha256(kept.data).digest()
    assert psnr(decode(kept.data, LIMITS), smaller(Image.fromarray(decode(data, LIMITS)), 64)) > 28


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_smaller_pictures_are_upright_and_say_nothing_else(photo, encoded, format, turn):
    data = encoded(photo(1, width=300, height=200), format, exif=exif(turn))
    kept = storable(data, SMALL)
    shown = smaller(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"), 64)
    assert (kept.header.width, kept.header.height) == shown.size
    assert psnr(decode(kept.data, LIMITS), shown) > 28
    assert SECRET.encode() not in kept.data
    assert not Image.open(io.BytesIO(kept.data)).getexif()


@pytest.mark.parametrize("mode", ["CMYK", "L", "RGB"])
def test_colours_of_smaller_pictures_are_those_that_a_viewer_shows(encoded, mode):
    data = encoded(Image.new("RGB", (300, 200), (200, 60, 30)).convert(mode), quality=95)
    shown = decode(data, LIMITS)[:43, :64].astype(int)
    assert np.abs(decode(storable(data, SMALL).data, LIMITS).astype(int) - shown).max() <= 3


def test_transparency_is_laid_over_white_before_it_is_scaled(photo, encoded):
    image = Image.new("RGBA", (256, 256), (255, 0, 0, 0))
    kept = storable(encoded(image, "PNG"), SMALL)
    assert decode(kept.data, LIMITS).min() >= 254


def test_pictures_that_are_not_larger_keep_their_bytes(photo, encoded):
    data = encoded(photo(1, width=64, height=40))
    assert storable(data, SMALL).data is data
    assert storable(data, LIMITS).data is data


def test_metadata_goes_or_stays_as_the_settings_say(photo, encoded):
    data = encoded(photo(1), exif=exif(6))
    kept = storable(data, LIMITS)
    assert SECRET.encode() not in kept.data
    assert (kept.header.width, kept.header.height) == (80, 96)
    assert storable(data, ImageConfig(metadata="keep")).data is data


@pytest.mark.parametrize("format", ["TIFF", "AVIF"])
def test_formats_that_cannot_be_taken_apart_are_encoded_anew_if_they_say_something(photo, encoded, format):
    plain, tagged = encoded(photo(1), format), encoded(photo(1), format, exif=exif(1))
    assert SECRET.encode() in tagged
    assert storable(plain, LIMITS).data is plain
    kept = storable(tagged, LIMITS)
    assert kept.header == identify(kept.data)
    assert kept.header.format == "JPEG"
    assert SECRET.encode() not in kept.data


def test_a_picture_over_the_pixel_cap_is_dropped_before_it_is_decoded(encoded):
    data = encoded(Image.new("L", (2000, 1000)), "PNG")
    settings = ImageConfig(max_side=64, max_pixels=1_000_000)
    assert storable(data, settings) == Dropped(DropReason.TOO_MANY_PIXELS, "2000 x 1000")


@pytest.mark.parametrize("data", [b"", b"<html>", b"\xff\xd8\xff\xe0\0\x10JFIF\0"])
def test_what_is_no_picture_is_a_drop(data):
    assert isinstance(storable(data, SMALL), Dropped)
    assert isinstance(storable(data, LIMITS), Dropped)


def test_a_truncated_picture_that_would_be_scaled_is_a_drop(photo, encoded):
    data = encoded(photo(1, width=640, height=427))[:5000]
    assert storable(data, SMALL).reason == DropReason.TRUNCATED


@pytest.fixture
def pictures(photo, encoded):
    return [encoded(photo(number, width=60 + 10 * number, height=50), exif=exif(1)) for number in range(12)]


@pytest.fixture
def parquet(tmp_path, pictures):
    path = tmp_path / "pool.parquet"
    pq.write_table(pa.table({"image": pa.array(pictures, pa.binary())}), path)
    return str(path)


def rows_of(run: Run):
    table = run.pool.read("fetch", 0)
    assert table["drop_reason"].null_count == table.num_rows
    return table.to_pylist()


def stored_bytes(run, row):
    with run.store.open(f"pool/{row['tar']}") as file:
        file.seek(row["offset"])
        return file.read(row["length"])


def test_rows_of_a_parquet_file_are_stored_small_and_keep_their_ids(parquet, pictures, configure, tmp_path):
    runs = []
    for name, image in (("as-they-came", {"metadata": "keep"}), ("stripped", {}), ("small", {"max_side": 80})):
        config = configure(pool=[parquet], references=[], image={"min_side": 1} | image)
        runs.append(curate(config, str(tmp_path / name), until="fetch"))
    came, stripped, small = (rows_of(run) for run in runs)
    assert sorted(stored_bytes(runs[0], row) for row in came) == sorted(pictures)
    assert {row["id"] for row in came} == {hashlib.sha256(data).digest()[:16] for data in pictures}
    assert [row["id"] for row in came] == [row["id"] for row in stripped] == [row["id"] for row in small]
    for run, rows in zip(runs, (came, stripped, small), strict=True):
        for row in rows:
            data = stored_bytes(run, row)
            header = identify(data)
            assert row["sha256"] == hashlib.sha256(data).digest()
            assert (row["width"], row["height"], row["format"]) == (header.width, header.height, header.format)
            assert (SECRET.encode() in data) == (run is runs[0])
    assert max(row["width"] for row in small) == 80
    for before, after in zip(stripped, small, strict=True):
        if before["width"] <= 80:
            assert (before["sha256"], before["width"]) == (after["sha256"], after["width"])


def test_files_that_are_read_where_they_lie_are_not_touched(dataset, configure, tmp_path):
    plain = curate(configure(references=[]), str(tmp_path / "plain"), until="fetch")
    small = curate(configure(references=[], image={"max_side": 32}), str(tmp_path / "small"), until="fetch")
    assert plain.pool.read("fetch", 0).equals(small.pool.read("fetch", 0))


def test_the_settings_of_what_is_stored_are_part_of_the_digest():
    def settings(**changes):
        return Fetch(CrawlConfig(), ImageConfig(**changes)).spec.settings

    assert settings() == settings(min_side=7, max_pixels=10, quality=3)  # of no matter while nothing is scaled
    assert len({str(settings(**each)) for each in ({}, {"max_side": 99}, {"metadata": "keep"})}) == 3
    assert settings(max_side=99) != settings(max_side=99, quality=3)


@pytest.mark.parametrize("threads", [1, 4])
def test_what_is_scaled_beside_the_fetch_comes_out_in_the_order_of_arrival(
    pictures, configure, tmp_path, monkeypatch, threads
):
    pool = tmp_path / "urls.txt"
    urls = [f"http://photos.test/{number}.jpg" for number in range(12)]
    pool.write_text("\n".join(urls))
    bodies = dict(zip(urls, pictures, strict=True)) | {urls[3]: b"<html>"}

    def fetch_all(asked, settings, memory):
        for at, url in enumerate(asked):
            yield at, Dropped(DropReason.TIMEOUT) if url == urls[5] else Fetched(bodies[url], url, 200, 0.1)

    monkeypatch.setattr(curation.crawl.fetch, "fetch_all", fetch_all)
    monkeypatch.setattr(curation.stages.ingest.fetch, "MAX_AHEAD", 3)
    config = configure(
        pool=[str(pool)],
        references=[],
        image={"min_side": 1, "max_side": 64},
        crawl={"user_agent": "test (a@b.test)", "decode_threads": threads},
    )
    run = curate(config, str(tmp_path / "run"), until="fetch")
    rows = run.pool.read("fetch", 0).to_pylist()
    reasons = {row["url"]: row["drop_reason"] for row in rows if row["drop_reason"]}
    assert reasons == {urls[3]: "not_an_image", urls[5]: "timeout"}
    offsets = [row["offset"] for row in rows if row["live"]]
    assert offsets == sorted(offsets)
    assert all(max(row["width"], row["height"]) <= 64 for row in rows if row["live"])
    expected = {url: storable(data, run.config.image) for url, data in bodies.items()}
    for row in rows:
        if row["live"]:
            assert stored_bytes(run, row) == expected[row["url"]].data
