"""What a run will bring in and cost."""

from collections import Counter
from dataclasses import asdict, fields, replace
from typing import Annotated, Any

import typer
from rich.markup import escape

from curation.config import BALANCED, SelectionConfig, load_config
from curation.errors import ConfigError
from pipelines.commands.shared import JsonOption, SetOption, app, console, new_table, print_json, print_line
from pipelines.commands.tables import COMPOSITION, print_weights
from pipelines.plan import Cost, Machine, Plan, plan, readable

__all__: list[str] = []


@app.command("plan", epilog="Example: [bold]lvd plan configs/curate/lvd142m.yaml --images 1.2e9 --nodes 20[/]")
def plan_command(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML file.")],
    images: Annotated[float | None, typer.Option(metavar="NUMBER", help="Images of the pool once fetched.")] = None,
    nodes: Annotated[int, typer.Option(metavar="NUMBER", help="Nodes that work on it.")] = 1,
    machine: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=NUMBER", help=f"What a node has or does: {', '.join(f.name for f in fields(Machine))}."
        ),
    ] = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what the seed sets will bring in, and what a run over that many images costs."""
    node = _machine(machine or [])
    settings = load_config(config, set_ or [])
    result = plan(settings, images, nodes, node)
    if as_json:
        fields_: dict[str, Any] = {"nominal": result.nominal, "composition": [asdict(row) for row in result.rows]}
        if settings.selection.weights is not None:
            fields_["weights"] = settings.selection.weights
        print_json({**fields_, "costs": [asdict(cost) for cost in result.costs], "machine": asdict(node)})
        return
    _print_composition(result, settings.selection)
    if result.costs:
        _print_costs(result.costs, node)


def _machine(overrides: list[str]) -> Machine:
    machine = Machine()
    known = {field.name: type(getattr(machine, field.name)) for field in fields(machine)}
    for override in overrides:
        name, _, text = override.partition("=")
        if name not in known:
            raise ConfigError(f"--machine {override}: unknown key; valid keys are {', '.join(known)}")
        try:
            value = known[name](text)
        except ValueError as error:
            raise ConfigError(f"--machine {override}: expected KEY=NUMBER, as in --machine gpus=8") from error
        if value < 0 or (value == 0 and name != "gpus"):
            raise ConfigError(f"--machine {override}: must be above 0")
        machine = replace(machine, **{name: value})
    return machine


def _print_composition(result: Plan, settings: SelectionConfig) -> None:
    table = new_table("composition", COMPOSITION, left=("seed set", "how"))
    for row in result.rows:
        retrieved = "" if row.retrieved is None else f"{row.retrieved:,}"
        if not row.exact:
            retrieved = f"<= {retrieved}"
        unique = "known once run" if row.unique is None else f"{row.unique:,}"
        images = f"{row.images:,}" if row.images or row.seed_set else ""
        table.add_row(escape(row.seed_set) or "-", row.how, images, retrieved, f"{row.nominal:,}", unique)
    table.add_row("total", "", "", "", f"{result.nominal:,}", f"<= {result.nominal:,}", style="bold")
    console.print(table)
    bounds = {row.how for row in result.rows if not row.exact}
    if bounds - {BALANCED}:
        print_line("<=: as if no two seed images more than needed shared a cluster, and each cluster had its fill")
    if BALANCED in bounds:
        print_line("<=: balanced, as if the pool had as many images; give its number with --images")
    most: Counter[str] = Counter()
    for row in result.rows:
        most[settings.source_of(row.seed_set)] += row.nominal
    repeating = {settings.source_of(row.seed_set) for row in result.rows if row.how != "as_is"}
    print_weights(settings, {name: f"{'<= ' * (name in repeating)}{count:,}" for name, count in most.items()})


def _print_costs(costs: list[Cost], machine: Machine) -> None:
    table = new_table("\ncost", ("step", "images", "hours", "stored"), left=("step",))
    table.add_column("estimated from", overflow="fold")
    for cost in costs:
        table.add_row(cost.step, f"{cost.images:,.0f}", f"{cost.hours:,.2f}", readable(cost.bytes), cost.how)
    hours, size = sum(cost.hours for cost in costs), sum(cost.bytes for cost in costs)
    table.add_row("total", "", f"{hours:,.1f}", readable(size), "one step after the other", style="bold")
    console.print(table)
    print_line("pass_images and core_gflops were measured (docs/benchmarks.md, one core); the rest is assumed:")
    print_line(", ".join(f"{field.name}={getattr(machine, field.name):g}" for field in fields(machine)))
