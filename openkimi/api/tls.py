"""The certificate of the gateway, checked before anything is loaded."""

from __future__ import annotations

import ssl
from pathlib import Path

from openkimi.errors import ConfigError
from openkimi.sections import TlsSection

_MISMATCHES = frozenset({"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"})


def tls_context(tls: TlsSection) -> ssl.SSLContext:
    """Load the certificate and its key.

    Raises:
        ConfigError: a file is missing or is no PEM file, the key is not the certificate's, or its password
            is wrong or missing.
    """
    for name, path in (("certificate", tls.certificate), ("key", tls.key)):
        _check_readable(path, f"server.tls.{name}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    asked = False

    def password() -> str:
        nonlocal asked
        asked = True
        return tls.key_password.reveal() if tls.key_password is not None else ""

    try:
        # A function, since without one OpenSSL would ask for the password on the terminal.
        context.load_cert_chain(tls.certificate, tls.key, password)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(_explain(tls, error, asked=asked)) from error
    return context


def renew_certificate(context: ssl.SSLContext, tls: TlsSection) -> None:
    """Let a context show the certificate as its file is now to those who connect from here on.

    One that is loaded into a context stands beside the one of another kind of key, which is still shown then,
    and half of a new pair leaves it with none: so they get another context, which is whole.

    Raises:
        ConfigError: as :func:`tls_context` does; who connects is shown what was shown before.
    """
    renewed = tls_context(tls)

    def show(connection: ssl.SSLObject, name: str | None, first: ssl.SSLContext) -> None:
        connection.context = renewed

    context.sni_callback = show


def _check_readable(path: str, place: str) -> None:
    try:
        Path(path).open("rb").close()
    except OSError as error:
        raise ConfigError(f"{place}: {path}: cannot be read: {error.strerror}") from error


def _explain(tls: TlsSection, error: Exception, *, asked: bool) -> str:
    if getattr(error, "reason", None) in _MISMATCHES:
        return f"server.tls.key: {tls.key} is not the key of the certificate {tls.certificate}"
    if asked:
        return f"server.tls.key_password: does not open {tls.key}; give the password it is encrypted with"
    return f"server.tls: {tls.certificate} and {tls.key} are no certificate and private key in PEM format"
