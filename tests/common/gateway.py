"""The real binary as a child process, on a free port over data of its own. No code of the SDK's side is in here."""

import os
import re
import subprocess
from pathlib import Path

BINARY = os.environ.get("TIDEMARK_BIN", "target/debug/tidemark")

# Seconds that the process may take to stop after SIGTERM: its drain, and some more.
STOP_SECONDS = 40

LISTENING = re.compile(r"listening on (http://127\.0\.0\.1:[1-9][0-9]*)\n")


class Server:
    """The binary with these arguments. It can be killed and started again, on another port."""

    def __init__(self, directory, *arguments, listen="127.0.0.1:0"):
        self.directory = Path(directory)
        self.command = [BINARY, *map(str, arguments), "--listen", listen, "--admin", "off"]
        self.process = None
        self.url = None

    def start(self):
        """Starts it, and reads its address from the first line that it prints."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("TIDEMARK_", "RUST_LOG"))}
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=log, env=environment, text=True)
        line = self.process.stdout.readline()
        found = LISTENING.fullmatch(line)
        if not found:
            self.kill()
            raise RuntimeError(f"{self.command} did not start: {line!r}\n{self.log()}")
        self.url = found[1]
        return self

    def log(self):
        """All that it has written to its log, in all its lives."""
        return (self.directory / "log").read_text()

    def kill(self):
        """kill -9."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def stop(self):
        """SIGTERM. The exit code; a process that does not stop is killed, and that is an error."""
        self.process.terminate()
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"{self.command} did not stop within {STOP_SECONDS} s\n{self.log()}") from None
        finally:
            self.kill()


class Gateway(Server):
    """A gateway with these settings (TOML), on a free port unless one is named."""

    def __init__(self, directory, settings="", listen="127.0.0.1:0"):
        config = written(directory, settings)
        super().__init__(directory, "serve", "--config", config, "--data-dir", Path(directory) / "data", listen=listen)
        # Whoever takes the calls of clients: the gateway itself, or a bridge in front of it.
        self.front = self


class Bridge(Server):
    """A bridge alone with these settings, in front of a gateway elsewhere."""

    def __init__(self, directory, gateway, settings=""):
        super().__init__(directory, "bridge", "--config", written(directory, settings), "--gateway", gateway)


def written(directory, settings):
    """A file with these settings."""
    config = Path(directory) / "tidemark.toml"
    config.write_text(settings)
    return config
