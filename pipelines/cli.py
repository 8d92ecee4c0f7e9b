"""The command `lvd`: its entry point, and what becomes of errors."""

import contextlib
import logging
import os
import re
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

import pipelines.commands.balance
import pipelines.commands.curation
import pipelines.commands.decontamination
import pipelines.commands.deduplication
import pipelines.commands.fingerprinting
import pipelines.commands.planning
import pipelines.commands.training  # noqa: F401, as importing a group adds its commands
from curation import __version__
from curation.errors import ArgumentError, LvdError
from pipelines.commands.shared import VerboseOption, app, print_line, terminal_log

__all__ = ["app", "main"]

UsageError: Any = typer.BadParameter.__base__  # Typer carries its own copy of Click, and exports only the leaves


def main() -> None:
    """Entry point: errors become one line and an exit code, never a traceback."""
    with _messages():
        code = _run()
    sys.exit(code)


@contextlib.contextmanager
def _messages() -> Iterator[None]:
    """Errors that are logged are shown, and with LVD_DEBUG=1 all that is."""
    root, debug = logging.getLogger(), bool(os.environ.get("LVD_DEBUG"))
    before = root.level
    root.setLevel(logging.DEBUG if debug else logging.WARNING)
    terminal_log.stream = sys.stderr
    terminal_log.setLevel(logging.DEBUG if debug else logging.ERROR)
    root.addHandler(terminal_log)
    try:
        yield
    finally:
        root.removeHandler(terminal_log)
        root.setLevel(before)


def _run() -> int:
    try:
        code = app(standalone_mode=False)
        if code == 130:  # Typer's answer to Ctrl-C
            raise KeyboardInterrupt
    except UsageError as error:
        print(f"lvd: {error.format_message()}; see `lvd {' '.join(sys.argv[1:2])} --help`", file=sys.stderr)
        code = 2
    except LvdError as error:
        print(f"lvd: {'--' if isinstance(error, ArgumentError) else ''}{_as_options(str(error))}", file=sys.stderr)
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        print("lvd: stopped; finished parts are kept, run the same command again to continue", file=sys.stderr)
        code = 130
    return code if isinstance(code, int) else 0


def _as_options(text: str) -> str:
    """Arguments that a message names, by their options."""
    return re.sub(r"`(against|in-place|out|plant|until)`", r"--\1", text)


def _version(value: bool) -> None:
    if value:
        print_line(f"lvd {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    verbose: VerboseOption = False,
) -> None:
    pass


if __name__ == "__main__":
    main()
