"""Three repairs to Snakemake: two to its scheduler and one to its log, applied before its first job."""

import logging
import signal
from collections.abc import Iterable
from io import TextIOWrapper
from threading import Thread
from typing import Protocol


class Scheduler(Protocol):
    """The parts of Snakemake's ``JobScheduler`` that are changed or called."""

    job_rate_limiter: object | None

    def exit_gracefully(self) -> None:
        """Start no more jobs and stop when the running ones have ended."""


def mend_scheduler(scheduler: Scheduler, local: bool) -> None:
    """Make SIGTERM stop the scheduler reliably, and let it poll less often.

    - Its SIGTERM handler waits for a lock that the interrupted thread may hold, and Snakemake then hangs forever. The handler installed
      here works in a thread of its own.
    - Its limit on jobs per second starts a chain of timers whenever a job ends, and these chains never stop: after hundreds of jobs they
      use a third of a core. Local jobs are limited by the number of cores anyway.

    Parameters
    ----------
    local : whether jobs run on this machine
    """
    signal.signal(signal.SIGTERM, lambda *_: Thread(target=scheduler.exit_gracefully).start())
    if local:
        scheduler.job_rate_limiter = None


def mend_log(handlers: Iterable[logging.Handler]) -> None:
    """Let Snakemake's log files take names of files that are not UTF-8, which it would else lose with a traceback."""
    for handler in handlers:
        if isinstance(handler, logging.FileHandler) and isinstance(handler.stream, TextIOWrapper):
            handler.stream.reconfigure(errors="backslashreplace")
