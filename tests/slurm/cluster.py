"""A private two-node SLURM on the loopback interface, from distribution packages, with all its state in one folder."""

import fcntl
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

PACKAGES = ("slurm-wlm", "munge")
PROGRAMS = ("munged", "scancel", "scontrol", "sinfo", "slurmctld", "slurmd", "squeue", "srun")
DEFAULTS = Path("/etc/slurm")  # job steps lose SLURM_CONF, so the files must also be found here
FILES = ("slurm.conf", "gres.conf")
NODES = ("n1", "n2")
PREFIX = "selectbench-slurm-"


def install_slurm() -> str | None:
    """Install SLURM if it is missing; return why it cannot be used, or None."""
    if os.geteuid() != 0:
        return "SLURM's daemons need root here"
    if any(shutil.which(program) is None for program in PROGRAMS):
        if shutil.which("apt-get") is None:
            return "SLURM is not installed, and there is no apt-get to install it"
        install = ["apt-get", "-o", "DPkg::Lock::Timeout=300", "install", "--yes", "--no-install-recommends", *PACKAGES]
        for command in (install, ["apt-get", "update"], install):
            environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
            result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if command is install and result.returncode == 0:
                break
        else:
            return f"apt-get cannot install {' '.join(PACKAGES)}: {(result.stderr.strip().splitlines() or ['no reason given'])[-1]}"
    foreign = [path for path in map(DEFAULTS.joinpath, FILES) if os.path.lexists(path) and not _is_ours(path)]
    return f"this machine has a SLURM of its own: {foreign[0]}" if foreign else None


def _is_ours(path: Path) -> bool:
    return path.is_symlink() and path.readlink().parent.name.startswith(PREFIX)


@contextmanager
def start_cluster() -> Iterator["Cluster"]:
    """Start the cluster, and stop it in any case; a second one on the same machine waits until the first has ended."""
    made = not DEFAULTS.exists()
    DEFAULTS.mkdir(parents=True, exist_ok=True)
    lock = os.open(DEFAULTS, os.O_RDONLY)
    cluster = None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        cluster = Cluster(Path(tempfile.mkdtemp(prefix=PREFIX)))
        cluster.start()
        yield cluster
    finally:
        if cluster is not None:
            cluster.stop()
        os.close(lock)
        if made and not any(DEFAULTS.iterdir()):
            DEFAULTS.rmdir()


def wait_for(condition: Callable[[], object], seconds: float, what: str, pause: float = 0.1) -> object:
    """Return the first true value of a condition; raise if there is none within this many seconds."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(pause)
    return value


@dataclass
class Cluster:
    """A controller, two nodes of eight CPUs and one (pretended) GPU, and the service that authenticates them.

    Parameters
    ----------
    folder : holds everything, and is deleted with the cluster
    """

    folder: Path
    daemons: dict[str, subprocess.Popen] = field(default_factory=dict)

    def start(self) -> None:
        """Start all daemons and wait until both nodes are idle."""
        self.folder.chmod(0o755)
        for name in ("state", *NODES):
            (self.folder / name).mkdir()
        (self.folder / "munge.key").write_bytes(os.urandom(1024))
        (self.folder / "munge.key").chmod(0o400)
        (self.folder / "slurm.conf").write_text(self._describe(), encoding="utf-8")
        (self.folder / "gres.conf").write_text(f"NodeName={','.join(NODES)} Name=gpu File=/dev/null\n", encoding="utf-8")
        for name in FILES:
            (DEFAULTS / name).unlink(missing_ok=True)
            (DEFAULTS / name).symlink_to(self.folder / name)
        files = [f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "pid", "seed", "log")]
        self._run("munged", "--foreground", "--force", f"--socket={self.folder}/munge.socket", *files)
        wait_for((self.folder / "munge.socket").exists, 20, "munged")
        self._run("slurmctld", "-D", "-f", str(self.folder / "slurm.conf"))
        for node in NODES:
            self.start_node(node)
        wait_for(lambda: self.ask("sinfo", "--noheader", "--states=idle", "--format=%D").strip() == str(len(NODES)), 60, "two idle nodes")

    def stop(self) -> None:
        """Stop everything that was started, and remove the links and the folder."""
        for node in NODES:
            self.kill_node(node)
        for daemon in reversed(self.daemons.values()):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        for path in map(DEFAULTS.joinpath, FILES):
            if path.is_symlink() and path.readlink().parent == self.folder:
                path.unlink()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start_node(self, node: str) -> None:
        """Start a node's daemon."""
        self._run(node, "-D", "-N", node, "-f", str(self.folder / "slurm.conf"), program="slurmd")

    def kill_node(self, node: str) -> None:
        """Kill everything that runs on a node at once, as a power cut would."""
        if node not in self.daemons:
            return
        daemon = self.daemons.pop(node)
        daemon.kill()
        daemon.wait()
        steps = [process for process in psutil.process_iter() if _read_job(process) in self._list_jobs_on(node)]
        for process in {process for step in steps for process in (step, *_list_children(step))}:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue

    def ask(self, *command: str) -> str:
        """Return the output of a SLURM command, or an empty string if it fails."""
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def list_jobs(self) -> list[dict[str, str]]:
        """Return every job that the controller knows, running or not, as ``scontrol`` describes it, oldest first."""
        lines = self.ask("scontrol", "--oneliner", "show", "job").splitlines()
        jobs = [dict(re.findall(r"(?:^| )([A-Z]\w*(?::\w+)?)=(\S*)", line)) for line in lines if line.startswith("JobId=")]
        return sorted(jobs, key=lambda job: int(job["JobId"]))

    def find_jobs(self, rule: str, state: str) -> list[dict[str, str]]:
        """Return the jobs of a rule that are in a given state."""
        return [job for job in self.list_jobs() if rule in job.get("Comment", "") and job["JobState"] == state]

    def _run(self, name: str, *arguments: str, program: str | None = None) -> None:
        command = ["setpriv", "--pdeathsig", "KILL", program or name, *arguments]
        with open(self.folder / f"{name}.out", "ab") as output:
            pipes = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
            self.daemons[name] = subprocess.Popen(command, cwd=self.folder, start_new_session=True, **pipes)

    def _list_jobs_on(self, node: str) -> set[str]:
        """List the jobs with a step on a node, found by the sockets of the step daemons in its spool."""
        return {path.name.removeprefix(f"{node}_").split(".")[0] for path in (self.folder / node).glob(f"{node}_*")}

    def _describe(self) -> str:
        ports = find_ports(1 + len(NODES))
        host = socket.gethostname().split(".")[0]
        settings = {
            "ClusterName": "loopback",
            "SlurmctldHost": f"{host}(127.0.0.1)",
            "SlurmctldPort": ports[0],
            "SlurmUser": "root",
            "SlurmdUser": "root",
            "AuthType": "auth/munge",
            "CredType": "cred/munge",
            "AuthInfo": f"socket={self.folder}/munge.socket,cred_expire=5",  # a requeued job waits until its old credential expires
            "StateSaveLocation": self.folder / "state",
            "SlurmdSpoolDir": f"{self.folder}/%n",
            "SlurmctldPidFile": self.folder / "slurmctld.pid",
            "SlurmdPidFile": f"{self.folder}/%n.pid",
            "SlurmctldLogFile": self.folder / "slurmctld.log",
            "SlurmdLogFile": f"{self.folder}/%n.log",
            "SlurmdParameters": "config_overrides",
            "SlurmdTimeout": 2,
            "TCPTimeout": 1,
            "KillWait": 5,
            "ReturnToService": 2,
            "JobRequeue": 0,  # so that each job declares whether it may be started again
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "SwitchType": "switch/none",
            "MpiDefault": "none",
            "JobAcctGatherType": "jobacct_gather/none",
            "AccountingStorageType": "accounting_storage/none",
            "MailProg": "/bin/true",
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_Core_Memory",
            "SchedulerParameters": "batch_sched_delay=0,sched_interval=2,bf_interval=2",
            "MinJobAge": 3600,
            "GresTypes": "gpu",
        }
        lines = [f"{name}={value}" for name, value in settings.items()]
        for node, port in zip(NODES, ports[1:], strict=True):
            place = f"NodeHostname={host} NodeAddr=127.0.0.1 Port={port}"
            lines.append(f"NodeName={node} {place} CPUs=8 RealMemory=16000 Gres=gpu:1 State=UNKNOWN")
        lines.append(f"PartitionName=main Nodes={','.join(NODES)} Default=YES MaxTime=INFINITE State=UP")
        return "\n".join(lines) + "\n"


def find_ports(number: int) -> list[int]:
    """Return this many free ports of the loopback interface."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def _list_children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _read_job(process: psutil.Process) -> str | None:
    """Return the job whose step a process runs, from its title ``slurmstepd: [12.batch]``; None for all other processes."""
    try:
        title = re.match(r"slurmstepd: \[(\d+)\.", " ".join(process.cmdline()))
    except psutil.Error:
        return None
    return title and title[1]
