"""The real binary for tests in Python, started with a configuration in a directory of its own."""

import contextlib
import os
import re
import subprocess

import pytest

BINARY = os.environ.get("TIDEMARK_BIN", "target/debug/tidemark")

# Seconds that the process may take to stop after SIGTERM.
STOP_SECONDS = 40


@contextlib.contextmanager
def serve(directory, config=""):
    """A fresh gateway with this TOML over the defaults: gives its address, read from the first line that it prints."""
    (directory / "tidemark.toml").write_text(config)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TIDEMARK_")}
    command = [BINARY, "--listen", "127.0.0.1:0", "--admin", "off"]
    command += ["--config", str(directory / "tidemark.toml"), "--data-dir", str(directory / "data")]
    log_file = directory / "log"
    with open(log_file, "wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment, text=True)
    line = process.stdout.readline()
    found = re.fullmatch(r"listening on (http://127\.0\.0\.1:[1-9][0-9]*)\n", line)
    if not found:
        process.kill()
        process.wait()
        pytest.fail(f"the gateway did not start: {line!r}\n{log_file.read_text()}")
    try:
        yield found[1]
    finally:
        process.terminate()
        try:
            code = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            pytest.fail(f"the gateway did not stop within {STOP_SECONDS} s")
        assert code == 0, log_file.read_text()
