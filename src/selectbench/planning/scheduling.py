"""Two repairs of Snakemake's scheduler, made before its first job."""

import signal
from threading import Thread
from typing import Protocol


class Scheduler(Protocol):
    """What is touched of Snakemake's ``JobScheduler``."""

    job_rate_limiter: object | None

    def exit_gracefully(self) -> None:
        """Start no more jobs and end when those at work have ended."""


def mend_scheduler(scheduler: Scheduler, local: bool) -> None:
    """Make a scheduler end by SIGTERM at any moment, and look at waiting jobs only when one has ended.

    - Its handler of SIGTERM waits for a lock that the thread which it interrupts may hold: Snakemake then hangs for ever. The handler
      here does its work in a thread of its own.
    - Its limit of jobs a second starts a chain of timers for each job that ends, and no chain ever stops: after hundreds of jobs they
      take a third of a processor. Jobs on this machine are limited by its cores already.

    Parameters
    ----------
    local : whether jobs run on this machine
    """
    signal.signal(signal.SIGTERM, lambda *_: Thread(target=scheduler.exit_gracefully).start())
    if local:
        scheduler.job_rate_limiter = None
