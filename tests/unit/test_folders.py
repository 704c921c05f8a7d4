"""Folders of a workflow: what its jobs find, and what is said of folders that cannot be used."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from snakemake.utils import format as fill_in

from selectbench.errors import ConfigError
from selectbench.planning.plan import load_plan
from selectbench.workflow import check_results_folder, make_prefix, quote_braces

ODD = ["plain", "my 'projects' ü", 'a "b" {c} {{d}}', "$HOME `id` \\ ; & ~ *", "two\nlines"]


@pytest.mark.parametrize("name", ODD)
def test_jobs_find_the_python_of_a_folder_of_any_name(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "python").write_text('#!/bin/sh\necho "found: $*"\n', encoding="utf-8")
    (folder / "python").chmod(0o755)
    prefix = fill_in(quote_braces(make_prefix(folder / "python")))
    found = subprocess.run(["bash", "-c", f"{prefix}python -m stage"], capture_output=True, encoding="utf-8", check=True)
    assert found.stdout == "found: -m stage\n"


def test_jobs_find_other_programs_as_before(tmp_path):
    (tmp_path / "tool").write_text("#!/bin/sh\necho found\n", encoding="utf-8")
    (tmp_path / "tool").chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["bash", "-c", f"{make_prefix(Path(sys.executable))}tool"]
    assert subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=True).stdout == "found\n"


def test_a_folder_with_a_colon_is_refused():
    with pytest.raises(ConfigError, match=r"/a:b/bin: .* cannot have a colon in its path"):
        make_prefix(Path("/a:b/bin/python"))


@pytest.mark.parametrize("key", ["results", "resources"])
def test_a_link_to_nowhere_is_told(root, tmp_path, key):
    (tmp_path / "link").symlink_to("/not/mounted/results")
    plan = load_plan(root, {"scale": "smoke", key: f"{tmp_path}/link/more"})
    with pytest.raises(ConfigError) as caught:
        check_results_folder(plan)
    told = f"config/config.yaml: {key}: {tmp_path}/link is a link to /not/mounted/results, which is not there; create or mount it"
    assert str(caught.value).startswith(told)
    os.unlink(tmp_path / "link")
    (tmp_path / "link").symlink_to("link")
    with pytest.raises(ConfigError, match=f"{key}: {tmp_path}/link is a link to link, which is not there"):
        check_results_folder(plan)
    os.unlink(tmp_path / "link")
    check_results_folder(plan)
