"""`workbench app`: start the app for this machine only, and open it."""

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from workbench.cli import load
from workbench.errors import BadInput

PORT = 8501
TRIES = 20
"""Ports tried from 8501 on when none is asked for."""


def add_to(commands: Any) -> None:
    """Add `app`."""
    app = commands.add_parser("app", help="open the app", description="Start the app and open it in the browser.")
    app.add_argument("--model", help=f"{load.NAMES} (default: {load.DEFAULT})")
    app.add_argument("--prompt", help="what the model reads first")
    app.add_argument("--port", type=int, help=f"where it listens (default: the first free one from {PORT})")
    app.add_argument("--host", default="127.0.0.1", help="who may reach it (default: 127.0.0.1, this machine only)")
    app.add_argument("--no-browser", action="store_true", help="do not open the browser")
    app.set_defaults(handle=_app)


def _app(arguments: argparse.Namespace) -> int:
    query = {name: value for name in ("model", "prompt") if (value := getattr(arguments, name))}
    return serve("", query, port=arguments.port, host=arguments.host, browser=not arguments.no_browser)


def serve(
    page: str, query: Mapping[str, str], *, port: int | None = None, host: str = "127.0.0.1", browser: bool = True
) -> int:
    """Run the app until it is ended, and open it on a page; the exit code. Raises `BadInput` where no port is free."""
    port = _free_port(host, port)
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    url = f"http://{shown}:{port}/{page}" + (f"?{urlencode(query)}" if query else "")
    signal.signal(signal.SIGTERM, _end)
    server = subprocess.Popen(command(port, host), env={**os.environ, "PYTHONUNBUFFERED": "1"})
    print(f"The workbench is at {url} (Ctrl-C ends it).", flush=True)
    if browser:
        threading.Thread(target=_open, args=(url, shown, port), daemon=True).start()
    try:
        return 1 if server.wait() else 0
    except KeyboardInterrupt:
        return 0
    finally:
        server.terminate()
        server.wait()


def _end(*_: object) -> None:
    """End as Ctrl-C does, so that the server never outlives this process."""
    raise KeyboardInterrupt


def command(port: int, host: str = "127.0.0.1") -> list[str]:
    """The command that runs the app's server: no statistics sent, no e-mail asked for, no browser opened."""
    return [
        *(sys.executable, "-m", "streamlit", "run", str(main_file())),
        *("--server.port", str(port)),
        *("--server.address", host),
        *("--server.headless", "true"),
        *("--browser.serverAddress", host),
        *("--browser.gatherUsageStats", "false"),
    ]


def main_file() -> Path:
    """`apps/main.py` of the installed package, found without importing it."""
    spec = find_spec("apps")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (main := Path(folder) / "main.py").is_file():
            return main
    raise BadInput("The app is not installed with this copy of the workbench; reinstall it with pip.")


def _free_port(host: str, wanted: int | None) -> int:
    if wanted is not None and not 1 <= wanted <= 65535:
        raise BadInput(f"--port must be from 1 to 65535, not {wanted}.")
    for port in (wanted,) if wanted else range(PORT, PORT + TRIES):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
                return port
            except OSError as error:
                reason = error.strerror or str(error)
    where = f"port {wanted}" if wanted else f"any port from {PORT} to {PORT + TRIES - 1}"
    raise BadInput(f"The app cannot listen on {where} of {host} ({reason}); choose another with --port.")


def _open(url: str, host: str, port: int) -> None:
    """Open the browser as soon as the server answers."""
    for _ in range(300):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            if probe.connect_ex((host, port)) == 0:
                webbrowser.open(url)
                return
        time.sleep(0.1)
