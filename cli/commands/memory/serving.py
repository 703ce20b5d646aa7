"""``pointsman memory serve``: let other processes and machines use the memory."""

from __future__ import annotations

import asyncio
import signal
import ssl
from pathlib import Path
from typing import Annotated

import typer

from ....configs.errors import ConfigError
from ... import options
from ...io.output import as_json, progress, result
from ...settings import opened

__all__ = ["serve"]


def serve(
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="N", min=0, max=65535, help="Port; 0 for a free one.")] = 8791,
    certificate: Annotated[
        Path | None, typer.Option("--tls-certificate", metavar="FILE", help="Speak HTTPS with this certificate.")
    ] = None,
    key: Annotated[Path | None, typer.Option("--tls-key", metavar="FILE", help="The certificate's key.")] = None,
    json: options.AsJson = False,
) -> None:
    """Serve the memory until Ctrl-C, and print the configuration that lets other projects use it.

    Clients must send the token in POINTSMAN_MEMORY_TOKEN. If it is not set, a token for this time is made and printed,
    and only this machine is served: to serve other machines, a token must be set.
    """
    import secrets

    from ....configs.schema import MEMORY_TOKEN
    from ....memory.serving.server import is_loopback
    from ....memory.serving.server import serve as serving

    with opened() as runtime:
        if runtime.settings.memory is not None:
            raise ConfigError(
                f"the memory in use is itself served at {runtime.settings.memory}: unset POINTSMAN_MEMORY to serve the "
                "project's own"
            )
        given = runtime.settings.secrets.get(MEMORY_TOKEN)
        if given is None and not is_loopback(host):
            raise ConfigError(
                f"{host} can be reached from other machines: set {MEMORY_TOKEN} to a token that they are to show, such "
                "as the output of 'openssl rand -hex 32'"
            )
        if (certificate is None) != (key is None):
            raise ConfigError("--tls-certificate and --tls-key go together")
        token = given.get_secret_value() if given else secrets.token_hex(32)
        tls = None if certificate is None or key is None else _context(certificate, key)
        if tls is None and not is_loopback(host):
            progress("plain HTTP: let a proxy speak HTTPS to other machines, or give --tls-certificate and --tls-key")

        def ready(url: str) -> None:
            if json:
                as_json({"url": url, **({} if given else {"token": token})}, lines=True, clean=True)
                return
            result(f"# the memory is served at {url}; end with Ctrl-C")
            result(f"export POINTSMAN_MEMORY={url}")
            if given is None:
                # The only place where the token can be read.
                typer.echo(f"export {MEMORY_TOKEN}={token}")

        async def run() -> None:
            stop, loop = asyncio.Event(), asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, stop.set)
            await serving({token: runtime.store}, host, port, ready=ready, stop=stop, tls=tls)

        asyncio.run(run())


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"is no certificate with its key in {key}: {said}", file=certificate) from error
    return context
