"""The log of a run: what a person needs after something went wrong, in `log.txt` of its directory.

It holds one line per stage with its seconds, all warnings, what could not be made with its traceback, and what workers
report, wherever they are. It begins with the first such line of ours: a command that has nothing to do, or that is
refused, leaves the directory as it was.
"""

import contextlib
import logging
import os
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from typing import IO

from curation.errors import LvdError
from curation.run.store import Store

__all__ = ["LOG", "Message", "logged", "logged_stage", "relay", "relayed"]

LOG = "log.txt"
OWN = ("curation", "pipelines")
STAGES = "curation.stages"
"""The logger of the lines that say which stage is done; a terminal shows stages in its own way."""
MAX_HELD = 1 << 20
"""Bytes of a log in memory, before it is put on disk until the command ends."""
Message = tuple[str, int, str]
"""A logger's name, a level and a text: what a worker hands on."""

_END = logging.getLogger(__name__)


@contextlib.contextmanager
def logged_stage(name: str, count: int = 0, unit: str = "rows") -> Iterator[None]:
    """Log one line when the block ends: the name, so much work (0 where that is not known), and the seconds it took."""
    started, outcome = time.monotonic(), "stopped after"
    try:
        yield
        outcome = f"{count:,} {unit}," if count else "done in"
    finally:
        logging.getLogger(STAGES).info("%s: %s %.1f s", name, outcome, time.monotonic() - started)


@contextlib.contextmanager
def logged(store: Store) -> Iterator[None]:
    """Append what is logged within the block to `log.txt` of a store, and the error that ends the block.

    Locally each line is there at once; on an object store the file is written when the block ends.
    """
    log, root = _RunLog(store), logging.getLogger()
    raised = [logger for name in OWN if (logger := logging.getLogger(name)).getEffectiveLevel() > logging.INFO]
    for logger in raised:
        logger.setLevel(logging.INFO)
    logging.captureWarnings(True)
    root.addHandler(log)
    try:
        yield
    except LvdError as error:
        _END.error("%s", error)
        raise
    except BaseException as error:
        _END.error("stopped by %s", type(error).__name__, exc_info=isinstance(error, Exception))
        raise
    finally:
        root.removeHandler(log)
        logging.captureWarnings(False)
        for logger in raised:
            logger.setLevel(logging.NOTSET)
        log.close()


class _RunLog(logging.Handler):
    """Appends records to a file of a store, which is opened with the first record of our own."""

    def __init__(self, store: Store) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        self._store = store
        self._held: list[str] = []
        self._file: IO[bytes] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._held.append(self.format(record))
            if self._file is None and record.name.startswith(OWN) and record.name != _END.name:
                self._file = self._opened()
            if self._file is not None:
                text = "".join(f"{line}\n" for line in self._held)
                self._held.clear()
                self._file.write(text.encode("utf-8", "backslashreplace"))
                self._file.flush()
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        if self._file is not None:
            if not self._store.is_local:
                self._file.seek(0)
                self._store.write_bytes(LOG, self._file.read())
            self._file.close()
            self._file = None
        super().close()

    def _opened(self) -> IO[bytes]:
        if self._store.is_local:
            os.makedirs(self._store.path(), exist_ok=True)
            return open(self._store.path(LOG), "ab")
        file: IO[bytes] = tempfile.SpooledTemporaryFile(MAX_HELD)  # noqa: SIM115, as it stays open with the log
        if self._store.exists(LOG):
            file.write(self._store.read_bytes(LOG))
        return file


@contextlib.contextmanager
def relayed() -> Iterator[list[Message]]:
    """Collect the warnings of the block, to be handed to the command's own process; none where this is that one."""
    messages: list[Message] = []
    root = logging.getLogger()
    if any(isinstance(handler, _RunLog) for handler in root.handlers):
        yield messages
        return
    collector = _Collector(messages)
    logging.captureWarnings(True)
    root.addHandler(collector)
    try:
        yield messages
    finally:
        root.removeHandler(collector)
        logging.captureWarnings(False)


def relay(messages: Sequence[Message]) -> None:
    """Log what a worker handed on."""
    for name, level, text in messages:
        logging.getLogger(name).log(level, "%s", text)


class _Collector(logging.Handler):
    def __init__(self, messages: list[Message]) -> None:
        super().__init__(logging.WARNING)
        self._messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + "".join(traceback.format_exception(*record.exc_info)).rstrip()
        self._messages.append((record.name, record.levelno, text))
