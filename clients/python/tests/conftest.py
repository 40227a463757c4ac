"""The stage that plays the table of faults, as a child process. Only the standard library is used here."""

import json
import pathlib
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

STAGE = pathlib.Path(__file__).resolve().parents[2] / "faults/stage.py"


class Stage:
    """`clients/faults/stage.py`, from `start` to `stop`."""

    def start(self):
        self.process = subprocess.Popen([sys.executable, STAGE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()
        return self

    def ask(self, path, body):
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), method="POST")
        try:
            with urllib.request.urlopen(request) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            pytest.fail(error.read().decode())

    def stop(self):
        self.process.communicate()


@pytest.fixture(scope="session")
def stage():
    stage = Stage().start()
    yield stage
    stage.stop()
