"""How threads wait for each other."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, PyTorch brings another OpenMP along")


def wait_policy(**environment: str) -> str:
    """The policy that OpenMP reports when PyTorch, which a command imports, loads it."""
    inherited = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-m", "denoise_cli", "doctor"],
        capture_output=True,
        text=True,
        env=inherited | environment | {"OMP_DISPLAY_ENV": "true"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (policy,) = {line.split("'")[1] for line in done.stderr.splitlines() if "OMP_WAIT_POLICY" in line}
    return policy


def test_waiting_threads_leave_the_processor_to_others() -> None:
    assert wait_policy() == "PASSIVE"


def test_a_policy_that_the_user_has_set_is_kept() -> None:
    assert wait_policy(OMP_WAIT_POLICY="active") == "ACTIVE"
