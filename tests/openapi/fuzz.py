"""schemathesis against the real binary, which asks for credentials and has a model server that answers anything.

Arguments go to `st run`: `--max-examples=500 --include-operation-id=createResponse` for example.
"""

import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

from backend import Backend
from gateway import Gateway

SETTINGS = """
[[backends]]
name = "chat"
kind = "openai"
dialect = "chat"
base_url = "{url}"
models = ["chat"]

[[backends]]
name = "responses"
kind = "openai"
dialect = "responses"
base_url = "{url}"
models = ["responses"]

[auth]
mode = "keys"
operator_secret_file = "{secret}"
"""


def main():
    here = Path(__file__).resolve().parent
    backend = Backend().start()
    with tempfile.TemporaryDirectory() as directory:
        secret = Path(directory) / "secret"
        secret.write_text(secrets.token_hex())
        gateway = Gateway(directory, SETTINGS.format(url=backend.url, secret=secret)).start()
        schemathesis = [str(Path(sys.executable).with_name("st")), f"--config-file={here / 'schemathesis.toml'}"]
        command = [*schemathesis, "run", f"{gateway.url}/openapi.json", *sys.argv[1:]]
        environment = os.environ | {
            "PYTHONPATH": str(here),
            "SCHEMATHESIS_HOOKS": "hooks",
            "TIDEMARK_FUZZ_SECRET": secret.read_text(),
        }
        code = subprocess.run(command, cwd=directory, env=environment, check=False).returncode
        stopped = gateway.stop()
        if "panicked" in gateway.log():
            print(gateway.log())
            code = code or 1
    backend.stop()
    return code or stopped


sys.exit(main())
