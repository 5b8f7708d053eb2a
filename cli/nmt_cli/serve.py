"""`nmt serve`: translates for programs and for people, over HTTP."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from nmt.errors import NmtError
from nmt_cli.console import note
from nmt_cli.options import BeamOption, DeviceOption, finite

_EXTRA = ("starlette", "uvicorn", "python_multipart")


def serve(
    models: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[MODEL]...",
            help="Bundles, run folders or checkpoints, also several. A run without a model yet is only shown, on the page of "
            "trainings. Default: none, to show trainings alone.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 lets other computers in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 takes one that is free.")] = 5000,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, show_default=False, help="Processes with the models. Default: one for each core; on a GPU one."
        ),
    ] = None,
    queue: Annotated[int, typer.Option(min=1, help="Requests that may wait; more are refused by 429.")] = 256,
    timeout: Annotated[
        float,
        typer.Option(min=0.1, max=86_400, callback=finite, help="Seconds until 504 ends a request."),
    ] = 60.0,
    api_key_file: Annotated[
        Path | None, typer.Option(help="File of the keys that let clients in, one a line.", show_default=False)
    ] = None,
    beam: BeamOption = None,
    runs: Annotated[Path, typer.Option(help="Folder of the trainings to show, or one of them.")] = Path("runs"),
    log_text: Annotated[bool, typer.Option("--log-text", help="Write what is translated into the log.")] = False,
    device: DeviceOption = "auto",
) -> None:
    """Serve models over HTTP: for programs that speak to LibreTranslate, and on a page."""
    check_installed()
    from nmt.runtime.cpu import usable_cores
    from nmt.serving.reading import Keys, Limits
    from nmt.serving.server import Serving, serve
    from nmt.serving.tasks import Setup
    from nmt.serving.workers import default_workers

    keys = Keys.read(api_key_file) if api_key_file else Keys()
    trained = [path for path in models or () if (path / "log.jsonl").is_file()]
    opened = [path for path in models or () if path not in trained or (path / "model").is_dir()]
    count = (workers or default_workers(device)) if opened else 0
    setup = Setup(tuple(opened), device, beam, max(1, usable_cores() // max(1, count)))
    serving = Serving(setup, count, host, port, queue, Limits(seconds=timeout), keys, (runs, *trained), log_text)
    serve(serving, lambda line: note(f"nmt: {line}"))


def check_installed() -> None:
    """Refuses to serve without the packages that it needs.

    Raises:
        NmtError: says how to install them.
    """
    if not all(map(find_spec, _EXTRA)):
        raise NmtError("serving needs packages that are not installed: pip install 'nmt[serve]'")
