"""The command line: what it prints, and that it is a thin shell over the functions."""

import json

import pytest
import typer

import curation
from curation.config import Config
from curation.errors import PartsFailed
from curation.report.funnel import funnel
from curation.run.directory import Run
from pipelines.cli import app
from pipelines.names import named as named_datasets


def test_curate_needs_no_config_file(lvd, dataset, tmp_path):
    """All is named on the command line; names of seed sets come from their folders."""
    answer = lvd(
        "curate", "--pool", dataset.pool, "--seed", dataset.seeds, "--against", dataset.reference,
        "--out", tmp_path / "run", "--set", "runner.kind=inline", "--set", "parts.rows=40", "--until", "decode",
    )  # fmt: skip
    assert answer.code == 0
    assert "seeds/seeds" in answer.out
    assert "references/reference" in answer.out
    assert (tmp_path / "run" / "config.yaml").exists()


def test_sets_of_one_name_are_told_apart_and_odd_names_are_made_plain():
    named = named_datasets(["a/birds/", "b/birds", "c/vögel 2.parquet", "s3://bucket/x.tar", "/", "_x_"])
    assert [name for name, _ in named] == ["birds", "birds-2", "v-gel-2", "x", "set", "x-2"]
    seeds = [{"name": name, "data": data} for name, data in named]
    Config.model_validate({"pool": ["p"], "seeds": seeds})


def test_a_finished_run_prints_its_funnel_composition_and_place(lvd, configure, finished, tmp_path):
    (tmp_path / "c.yaml").write_text(configure().to_yaml())
    answer = lvd("curate", tmp_path / "c.yaml", "--out", finished)
    assert answer.code == 0
    assert answer.err == ""
    assert "funnel" in answer.out
    assert "composition" in answer.out
    assert f"shards and manifest: {finished}/shards" in answer.out


def test_the_funnel_as_a_table_and_as_json(lvd, finished_run):
    root = finished_run.store.root
    table = lvd("funnel", root)
    assert table.code == 0
    assert "1 too_small" in table.out
    answer = lvd("funnel", root, "--json")
    assert json.loads(answer.out) == [row.to_dict() for row in funnel(finished_run)]


def test_why_as_text_and_as_json(lvd, finished_run):
    root = finished_run.store.root
    text = lvd("why", root, "bad/small.jpg")
    assert text.code == 0
    assert "pool part" in text.out
    assert "dropped by decode: too_small (20 x 40)" in text.out
    (trail,) = json.loads(lvd("why", root, "bad/small.jpg", "--json").out)
    assert trail["collection"] == "pool"
    assert trail["events"][-1]["drop_reason"] == "too_small"
    assert [event["stage"] for event in trail["events"]] == ["list", "fetch", "decode"]


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "json"])
def test_why_of_an_unknown_key_is_an_error(lvd, finished_run, options):
    root = finished_run.store.root
    answer = lvd("why", root, "nothing.jpg", *options)
    assert answer.code == 2
    assert answer.err == (
        f"lvd: nothing.jpg: nothing in {root} has this URL, id, SHA-256, path or key; check how it is spelled\n"
    )


def test_verify_says_that_all_holds_or_what_does_not(lvd, finished):
    answer = lvd("verify", finished)
    assert (answer.code, answer.out) == (0, f"{finished}: ledgers, digests, shards and checksums hold\n")
    shard = finished / "shards" / "shard-000000.tar"
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    answer = lvd("verify", finished)
    assert answer.code == 1
    assert answer.out == f"{shard}: its bytes are not those of the manifest; delete it and run `lvd curate` again\n"
    assert answer.err == f"lvd: {finished}: 1 breach(es)\n"


def test_every_command_has_help_with_an_example(lvd):
    commands = [command.name for command in app.registered_commands]
    assert {"curate", "demo", "funnel", "verify", "why"} <= set(commands)
    for command in commands:
        answer = lvd(command, "--help")
        assert lvd(command, "-h") == answer
        assert answer.code == 0
        assert f"Example: lvd {command}" in " ".join(answer.out.split())


def test_the_version(lvd):
    assert lvd("--version").out == f"lvd {curation.__version__}\n"


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "stopped; finished parts are kept, run the same command again to continue"),
        (typer.Abort(), 130, "stopped; finished parts are kept, run the same command again to continue"),
        (
            PartsFailed({"pool/fetch/part-00001.parquet": "OSError: disk", "pool/fetch/part-00000.parquet": "x"}),
            1,
            "pool/fetch/part-00000.parquet: x (and 1 more parts); finished parts are kept, "
            "run the same command again to retry the others",
        ),
    ],
    ids=["ctrl-c", "abort", "parts failed"],
)
def test_what_stops_a_command_is_one_line(lvd, monkeypatch, tmp_path, error, code, line):
    def stop(*_args, **_kwargs):
        raise error

    monkeypatch.setattr(Run, "load", stop)
    answer = lvd("funnel", tmp_path)
    assert (answer.code, answer.err) == (code, f"lvd: {line}\n")
