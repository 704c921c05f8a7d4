"""What is refused because it would not fit into memory, before the work."""

import resource
import subprocess
import sys

import pytest

from selectbench.arrays import count_free_bytes, refuse_oversized
from selectbench.errors import SelectbenchError

ONE_CLASS_TOO_LARGE = """
import resource
import sys
import numpy as np
import scipy.linalg
import selectbench as sb

rng = np.random.default_rng(0)
signals = sb.Signals(labels=np.zeros(30_000, int), inputs=rng.normal(size=(30_000, 2)), features=rng.normal(size=(30_000, 2)))
sb.select(sys.argv[1], sb.Signals(labels=[0, 1] * 20, inputs=signals.inputs[:40], features=signals.features[:40]), 0.5)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
resource.setrlimit(resource.RLIMIT_AS, (1024 * int(status["VmSize"].split()[0]) + (600 << 20),) * 2)
try:
    sb.select(sys.argv[1], signals, 0.1)
except sb.SelectbenchError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (
            "cg_score",
            "cg_score: the kernel of 30,000 samples (a class and as many others) takes 20.4 GiB of memory, and 0.6 GiB",
        ),
        ("cover_greedy", "cover_greedy: the table of pairs of a class of 30,000 samples takes 1.1 GiB of memory, and 0.6 GiB"),
    ],
)
def test_pairs_that_do_not_fit_are_told_before_the_work(method, message):
    result = subprocess.run([sys.executable, "-c", ONE_CLASS_TOO_LARGE, method], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(message)
    assert result.stdout.endswith("keep fewer samples per class in the signals, or use a machine with more memory\n")


def test_what_is_left_is_at_most_the_address_space():
    free = count_free_bytes()
    assert 0 < free < 1 << 50
    refuse_oversized("a number", 8, "nothing")
    with pytest.raises(SelectbenchError, match=r"everything takes 1,048,576.2 GiB of memory, and .* GiB are left; buy more$"):
        refuse_oversized("everything", 1 << 50, "buy more")
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY or free <= resource.getrlimit(resource.RLIMIT_AS)[0]
