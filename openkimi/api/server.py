"""Starts the gateway: ``python -m openkimi.api.server --config config.json``."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from types import FrameType
from typing import Any

import click
import msgspec
import structlog
import uvicorn

from openkimi.access import weak_keys
from openkimi.api.app import create_app
from openkimi.api.gateway import Gateway
from openkimi.api.generations import Generation, Serving
from openkimi.api.loading import loading
from openkimi.api.protocol import Protocol
from openkimi.api.reloading import Reloader, reloading
from openkimi.api.tls import renew_certificate, tls_context
from openkimi.api_keys import SHORTEST
from openkimi.config import build_config, read_config
from openkimi.control import Described
from openkimi.engine import KimiEngine
from openkimi.errors import ConfigError, OpenKimiError
from openkimi.interrupting import STATUS, raise_again
from openkimi.logs import LEVELS, configure_logging
from openkimi.plugins import in_one_line
from openkimi.sections import ServerSection, TlsSection

log = structlog.get_logger()

_GRACE_SECONDS = 5
_LAST_WORDS_SECONDS = 1.0
_KEEP_ALIVE_SECONDS = 75
"""Longer than balancers keep connections: one that closes first loses a request that is on its way."""
_SETTINGS = "OPENKIMI_SERVER_SETTINGS"
_COLLECT = (20_000, 20, 50)
"""Objects made before the collector looks at them: Python's own 700 cost 8 % of a request's time."""
_SWITCH = 0.001
"""Seconds for which a busy thread may keep the event loop waiting; Python's own 5 ms are felt in searches."""


class _Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The command line, in a form that a reloading child process can read from its environment."""

    config: str
    log_level: str = "info"
    mpr_candidates: int | None = None

    def engine(self) -> KimiEngine:
        return KimiEngine(self.config, mpr_candidates=self.mpr_candidates)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option(
    "--config",
    "-c",
    envvar="OPENKIMI_CONFIG_PATH",
    required=True,
    help="The config.json to serve.",
    metavar="FILE",
)
@click.option("--host", help="The address to listen on.  [default: server.host, 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="The port.  [default: server.port, 8000]")
@click.option("--mpr-candidates", type=click.IntRange(1, 32), help="Reasoning paths; overrides the config.")
@click.option("--reload", is_flag=True, help="Restart when Python files change (development).")
@click.option("--log-level", type=click.Choice(LEVELS), default="info", help="The least level to log.")
def main(
    config: str, host: str | None, port: int | None, mpr_candidates: int | None, reload: bool, log_level: str
) -> None:
    """Serve the OpenAI-compatible gateway that config.json describes."""
    try:
        raise_again()
        configure_logging(log_level)
        settings = _Settings(config=config, log_level=log_level, mpr_candidates=mpr_candidates)
        engine = settings.engine()
        server = engine.config.server
        if server.tls is not None:
            tls_context(server.tls)
        listener = listen(host or server.host, server.port if port is None else port)
        if reload:
            _serve_reloading(settings, listener)
        else:
            with asyncio.Runner(loop_factory=_fastest_loop()) as runner:
                runner.run(_serve(engine, listener, str(Path(config).absolute())))
    except OpenKimiError as error:
        click.echo(f"openkimi: {error.message}", err=True)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    except KeyboardInterrupt:
        sys.exit(STATUS)
    except Exception as error:
        log.debug("failed_because", exc_info=error)
        click.echo(f"openkimi: {in_one_line(error)}; --log-level debug shows where it failed", err=True)
        sys.exit(1)


def listen(host: str, port: int) -> socket.socket:
    """Take the address before anything is loaded.

    Raises:
        ConfigError: it is in use, or no address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, accepted sockets get TCP_NODELAY: without, every answer waits 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --port or --host"
        ) from error
    listener.set_inheritable(True)
    return listener


def _fastest_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Take uvloop where it is installed (it is not to be had on Windows), or else Python's own loop."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def reloadable_app() -> Any:
    """Make the application in a child process of ``--reload``."""
    settings = msgspec.json.decode(os.environ[_SETTINGS], type=_Settings)
    configure_logging(settings.log_level)
    return create_app(settings.engine())


async def _serve(engine: KimiEngine, listener: socket.socket, config: str) -> None:
    """Answer while the engine opens; what makes it fail ends the server and is raised."""
    failure: BaseException | None = None
    is_loading = True

    def loaded(error: BaseException | None) -> None:
        nonlocal failure, is_loading
        failure, is_loading = error, False
        if error is not None:
            server.should_exit = True
            return
        _settle()
        gc.set_threshold(*_COLLECT)
        sys.setswitchinterval(_SWITCH)
        _warn(section, host)
        _greet(engine, url)
        reloader.ready()

    def heed(section: ServerSection) -> None:
        _warn(section, host)
        server.certify(section.tls)

    section, host = engine.config.server, listener.getsockname()[0]
    url = _url(section, listener)
    serving = Serving(Generation(Gateway(engine), lifespan=loading(engine, loaded)), ended=_settle)
    server = _Server(_uvicorn_config(serving, section), serving)
    reloader = Reloader(serving, heed)
    described = Described(process=os.getpid(), config=config, url=url)
    await asyncio.sleep(0)  # a Ctrl-C till here ends it here: uvicorn would report a failure
    try:
        async with reloading(reloader, described):
            try:
                await server.serve(sockets=[listener])
            finally:
                is_loading = is_loading or reloader.is_busy
    finally:
        # The thread that loads the model cannot be stopped, and Python would wait for it.
        if server.force_exit or (is_loading and server.should_exit):
            os._exit(STATUS)
    if failure is not None:
        raise failure


def _settle() -> None:
    """Keep the collector of garbage off what is loaded, over which it takes a tenth of a second."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


class _Server(uvicorn.Server):
    """Ends running answers when it is told to stop: at once by Ctrl-C, after a grace by SIGTERM."""

    def __init__(self, config: uvicorn.Config, serving: Serving) -> None:
        super().__init__(config)
        self._serving = serving
        self._loop = asyncio.get_running_loop()

    def certify(self, tls: TlsSection | None) -> None:
        """Show this certificate to those who connect from here on, where they are shown one at all."""
        if self.config.ssl is not None and tls is not None:
            renew_certificate(self.config.ssl, tls)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self.force_exit:
            return
        grace = 0 if sig == signal.SIGINT else _GRACE_SECONDS
        self._loop.call_soon_threadsafe(self._loop.call_later, grace, self._end)

    def _end(self) -> None:
        self._serving.interrupt()
        self._loop.call_later(_LAST_WORDS_SECONDS, self._cut_off)

    def _cut_off(self) -> None:
        for connection in tuple(self.server_state.connections):
            if isinstance(connection, Protocol):
                connection.cut_off()


def _serve_reloading(settings: _Settings, listener: socket.socket) -> None:
    section = build_config(read_config(settings.config)).server
    os.environ[_SETTINGS] = msgspec.json.encode(settings).decode()
    config = _uvicorn_config("openkimi.api.server:reloadable_app", section, factory=True, reload=True)
    supervisor = uvicorn.supervisors.ChangeReload(config, uvicorn.Server(config).run, [listener])
    supervisor.run()


def _uvicorn_config(app: Any, section: ServerSection, **options: Any) -> uvicorn.Config:
    if tls := section.tls:
        password = tls.key_password.reveal() if tls.key_password else None
        options |= {"ssl_certfile": tls.certificate, "ssl_keyfile": tls.key, "ssl_keyfile_password": password}
    return uvicorn.Config(
        app,
        proxy_headers=False,  # the application itself believes server.trusted_proxies, and nobody else
        http=Protocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=2 * _GRACE_SECONDS,
        **options,
    )


def _url(section: ServerSection, listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"{'https' if section.tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def _greet(engine: KimiEngine, url: str) -> None:
    key = "-H 'Authorization: Bearer KEY' " if engine.config.server.needs_key else ""
    click.echo(
        f"""
OpenKimi serves {engine.model_name} on {url} (Ctrl-C stops it). Try:

  curl {url}/v1/chat/completions {key}-H 'Content-Type: application/json' \\
    -d '{{"messages": [{{"role": "user", "content": "Who wrote Hamlet?"}}], "temperature": 0}}'
"""
    )


def _warn(section: ServerSection, host: str) -> None:
    """Say what lets strangers in."""
    if not ip_address(host.partition("%")[0]).is_loopback and not section.needs_key:
        remedy = "anyone who reaches this address may use it: set server.api_keys (openkimi keys new NAME)"
        log.warning("no_api_key", host=host, remedy=remedy)
    for place in weak_keys(section):
        remedy = f"less than {SHORTEST} characters can be guessed: openkimi keys new NAME makes a long key"
        log.warning("short_api_key", place=place, remedy=remedy)


if __name__ == "__main__":
    main()
