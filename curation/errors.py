"""What can go wrong, and whose move it is.

    LvdError                 exit code 1: the work failed
    ├── PartsFailed          some parts could not be made; the others are kept
    └── UserError            exit code 2: one line that says what, where and what to do
        ├── ConfigError      a setting that cannot be meant
        │   └── ArgumentError  the same of an argument; the command line calls it by its option
        ├── DatasetError     a dataset that is missing, empty or of no known kind
        ├── ModelError       weights that cannot be had or are not what they should be
        └── RunError         a run directory that is locked, damaged or another run's

A bad sample is none of these: it is a drop, with a reason (see `curation.drops`). A broken invariant is an assertion.
"""

from collections.abc import Mapping

__all__ = [
    "ArgumentError",
    "ConfigError",
    "DatasetError",
    "LvdError",
    "ModelError",
    "PartsFailed",
    "RunError",
    "UserError",
    "cause_of",
]


def cause_of(error: BaseException, limit: int = 200) -> str:
    """What another library's error says, on one line of bounded length; its class where it says nothing."""
    return " ".join(str(error).split())[:limit] or type(error).__name__


class LvdError(Exception):
    """Base of every error that `lvd` raises on purpose; its text is one line fit to be shown."""

    exit_code = 1


class PartsFailed(LvdError):  # noqa: N818, as PartsFailedError would say it twice
    """Some parts failed after their retries; the parts that could be made are committed.

    Attributes:
        failures: what went wrong, by the name of the part file that could not be made.
    """

    def __init__(self, failures: Mapping[str, str]) -> None:
        self.failures = dict(sorted(failures.items()))
        first, cause = next(iter(self.failures.items()))
        more = f" (and {len(failures) - 1} more parts)" if len(failures) > 1 else ""
        super().__init__(
            f"{first}: {cause}{more}; finished parts are kept, run the same command again to retry the others"
        )

    def __reduce__(self) -> tuple[type["PartsFailed"], tuple[dict[str, str]]]:
        return PartsFailed, (self.failures,)


class UserError(LvdError):
    """Something that the user can fix; nothing was lost or overwritten."""

    exit_code = 2


class ConfigError(UserError):
    """A setting is unknown, of the wrong type or contradicts another."""


class ArgumentError(ConfigError):
    """An argument of a call that cannot be meant.

    Attributes:
        argument: its name; where the call came from the command line, `lvd` says the option instead.
    """

    def __init__(self, argument: str, value: object, problem: str) -> None:
        self.argument, self._rest = argument, (value, problem)
        super().__init__(f"{argument} {value}: {problem}")

    def __reduce__(self) -> tuple[type["ArgumentError"], tuple[str, object, str]]:
        return ArgumentError, (self.argument, *self._rest)


class DatasetError(UserError):
    """A dataset is missing, empty, unreadable or of no kind that `lvd` knows."""


class ModelError(UserError):
    """A model's name is unknown, or its weights are missing, damaged or not those that were pinned."""


class RunError(UserError):
    """A run directory is in use, damaged, or belongs to another run."""
