"""The core's log reaches Python's logging, whoever holds the GIL and however the process ends."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest
from test_process import run_python

from skywork_rt import Generator


def _comes(caplog: pytest.LogCaptureFixture, text: str) -> logging.LogRecord | None:
    for _ in range(500):
        for record in caplog.records:
            if text in record.getMessage():
                return record
        time.sleep(0.01)
    return None


def test_messages_of_the_core_are_records_of_the_logger(
    tiny_bundle: Path, backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="skywork_rt"):
        Generator(tiny_bundle, backend=backend).close()
        opened = _comes(caplog, f"opened {tiny_bundle} on {backend}")
        closed = _comes(caplog, "closed tiny after 0 requests")  # logged by the engine's thread
    assert opened is not None
    assert closed is not None
    assert (opened.name, opened.levelno) == ("skywork_rt", logging.INFO)
    assert closed.levelno == logging.DEBUG


def test_loggers_choose_what_is_shown(tiny_bundle: Path) -> None:
    code = """
import logging, sys, skywork_rt
logging.basicConfig(level=int(sys.argv[2]), format="%(name)s %(levelname)s", stream=sys.stdout)
skywork_rt.Generator(sys.argv[1], backend="native").close()
"""
    loud = run_python(code, str(tiny_bundle), "10")
    assert (loud.returncode, loud.stderr) == (0, "")
    assert loud.stdout.splitlines() == ["skywork_rt INFO", "skywork_rt DEBUG"]
    quiet = run_python(code, str(tiny_bundle), "30")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")


@pytest.mark.parametrize("at_exit", ["pass", "generator.close()", "del generator", "sys.exit(0)"])
def test_a_process_that_ends_while_the_core_has_much_to_say_ends_well(endless_bundle: Path, at_exit: str) -> None:
    code = f"""
import logging, sys, threading, skywork_rt
class Slow(logging.Handler):
    def emit(self, record):
        import time
        time.sleep(0.01)
logging.getLogger("skywork_rt").addHandler(Slow())
logging.getLogger("skywork_rt").setLevel(logging.DEBUG)
for _ in range(20):
    generator = skywork_rt.Generator(sys.argv[1], backend="native")
    stream = generator.stream([5], temperature=0, max_tokens=None, ignore_eos=True)
    next(stream)
{at_exit}
"""
    result = run_python(code, str(endless_bundle))
    assert (result.returncode, result.stderr) == (0, "")


def test_a_child_of_fork_logs_through_a_thread_of_its_own(tiny_bundle: Path) -> None:
    code = """
import logging, os, sys, skywork_rt
logging.basicConfig(level=10, format="%(message)s", stream=sys.stdout)
skywork_rt.Generator(sys.argv[1], backend="native").close()
sys.stdout.flush()
child = os.fork()
skywork_rt.Generator(sys.argv[1], backend="native").close()
if child:
    print("child", os.waitpid(child, 0)[1])
"""
    result = run_python(code, str(tiny_bundle))
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("opened") == 3, result.stdout
    assert "child 0" in result.stdout
