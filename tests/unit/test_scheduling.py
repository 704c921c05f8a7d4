import inspect
import logging
import os
import signal
from threading import Event, Lock

import pytest
from snakemake.scheduling.job_scheduler import JobScheduler

from selectbench.planning.scheduling import mend_log, mend_scheduler


class Stub:
    """A scheduler whose lock is not re-entrant, like Snakemake's."""

    def __init__(self):
        self.job_rate_limiter, self.lock, self.ending = object(), Lock(), Event()

    def exit_gracefully(self):
        with self.lock:
            self.ending.set()


@pytest.fixture
def scheduler():
    before = signal.getsignal(signal.SIGTERM)
    yield Stub()
    signal.signal(signal.SIGTERM, before)


def test_sigterm_ends_a_scheduler_that_holds_its_own_lock(scheduler):
    mend_scheduler(scheduler, local=True)
    with scheduler.lock:
        os.kill(os.getpid(), signal.SIGTERM)
        assert not scheduler.ending.wait(0.1)
    assert scheduler.ending.wait(10)


@pytest.mark.parametrize("local", [True, False])
def test_only_jobs_on_this_machine_are_not_limited(scheduler, local):
    mend_scheduler(scheduler, local)
    assert (scheduler.job_rate_limiter is None) == local


def test_snakemake_still_has_what_is_mended():
    source = inspect.getsource(JobScheduler)
    assert "signal.signal(signal.SIGTERM, self.exit_gracefully)" in source
    assert "if self.job_rate_limiter is not None:" in source


def test_a_log_takes_names_that_are_not_utf8(tmp_path, capsys):
    handler = logging.FileHandler(tmp_path / "log", encoding="utf-8")
    mend_log([handler, logging.NullHandler()])
    handler.handle(logging.makeLogRecord({"msg": "Complete log: ü" + os.fsdecode(b"\xff")}))
    handler.close()
    assert (tmp_path / "log").read_text(encoding="utf-8") == "Complete log: ü\\udcff\n"
    assert capsys.readouterr().err == ""
