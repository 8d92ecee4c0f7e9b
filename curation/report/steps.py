"""The table of steps for the docs, made from the pipeline: `python -m curation.report.steps` prints it."""

from curation.engine.graph import Pipeline
from curation.pipeline import CURATE

__all__ = ["steps_table"]


def steps_table(pipeline: Pipeline) -> str:
    """A Markdown table: each stage, the row sets it works on, what it does, and the settings that it depends on."""
    lines = ["| step | works on | what happens | settings |", "|---|---|---|---|"]
    for node in pipeline:
        settings = ", ".join(f"`{name}`" for name in node.settings.split())
        lines.append(f"| `{node.name}` | {', '.join(node.on)} | {node.what} | {settings} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(steps_table(CURATE))
