"""Encryption of stored data that must be restored exactly, secrets included, under a key of the user's own."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
import threading
from base64 import b64decode, b64encode
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ...configs.errors import ConfigError
from ...configs.loading.loader import environment
from ...configs.loading.trust import state_folder
from ...configs.process.atomic import locked
from .private import replace_private

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["UNSEALED", "Seal", "user_seal"]

_KEY: Final = "state.key"
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
"""Nonces are random, which is safe for 2**32 texts under one key (NIST SP 800-38D, 8.3)."""
_NAME: Final = "aes256gcm"


class Seal:
    """Encrypts with AES-256-GCM; LangGraph's `EncryptedSerializer` takes it as its cipher.

    Its output names the key by the first 8 hex digits of the key's SHA-256, so that a lost or replaced key can be
    distinguished from a damaged file.

    Args:
        folder: Folder of the key file: 64 hex digits readable by the user alone. It is created at first use.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / _KEY
        self._lock = threading.Lock()
        self._made: tuple[str, AESGCM] | None = None

    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        """Encrypt bytes.

        Returns:
            The name of the cipher and key, and the nonce followed by the encrypted bytes.

        Raises:
            ConfigError: The key cannot be read or made.
        """
        name, cipher = self._cipher(make=True)
        nonce = os.urandom(_NONCE_BYTES)
        return name, nonce + cipher.encrypt(nonce, plaintext, None)

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
        """Decrypt what `encrypt` returned.

        Raises:
            ConfigError: The key is lost or a different one, or the bytes were changed.
        """
        from cryptography.exceptions import InvalidTag

        name, cipher = self._cipher(make=False)
        if name != ciphername:
            raise ConfigError(
                f"holds another key than this was encrypted with ({ciphername}): {_BACK}", file=self._path
            )
        try:
            return cipher.decrypt(ciphertext[:_NONCE_BYTES], ciphertext[_NONCE_BYTES:], None)
        except (InvalidTag, ValueError) as error:
            raise ConfigError(
                f"what was encrypted with the key in {self._path} has been changed or damaged since: put a copy of the "
                "state folder back, or start the run again"
            ) from error

    def close(self, text: str) -> str:
        """Encrypt a text into one line of text."""
        name, sealed = self.encrypt(text.encode("utf-8", "surrogatepass"))
        return f"{name}:{b64encode(sealed).decode()}"

    def open(self, text: str) -> str:
        """Decrypt what `close` returned.

        Raises:
            ConfigError: As in `decrypt`; also if the text is not encrypted, since another user may have written it.
        """
        name, colon, sealed = text.partition(":")
        if not colon or not name.startswith(_NAME):
            raise ConfigError(UNSEALED)
        try:
            ciphertext = b64decode(sealed, validate=True)
        except ValueError:
            ciphertext = b""
        return self.decrypt(name, ciphertext).decode("utf-8", "surrogatepass")

    def close_bytes(self, content: bytes) -> bytes:
        """Encrypt the content of a file."""
        name, sealed = self.encrypt(content)
        return name.encode() + b"\n" + sealed

    def open_bytes(self, content: bytes) -> bytes:
        """Decrypt what `close_bytes` returned; raises the same errors as `decrypt`."""
        name, _, sealed = content.partition(b"\n")
        return self.decrypt(name.decode("ascii", "replace"), sealed)

    def sign(self, text: str) -> str:
        """Sign a text with the key: HMAC-SHA256 (RFC 2104) in hex digits.

        Raises:
            ConfigError: The key cannot be read or made.
        """
        return self._signature(text, self._key(make=True))

    def signed(self, text: str, signature: str) -> bool:
        """Return whether `sign` made this signature of the text; also False if the key is lost or unusable."""
        try:
            key = self._key(make=False)
        except ConfigError:
            return False
        return hmac.compare_digest(self._signature(text, key).encode(), signature.encode())

    @staticmethod
    def _signature(text: str, key: bytes) -> str:
        # The prefix separates signatures from every other use of the key.
        return hmac.new(key, b"pointsman signs: " + text.encode(), hashlib.sha256).hexdigest()

    def _cipher(self, *, make: bool) -> tuple[str, AESGCM]:
        made = self._made
        if made is None:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM

            with self._lock:
                key = self._key(make=make)
            made = self._made = f"{_NAME}-{hashlib.sha256(key).hexdigest()[:8]}", AESGCM(key)
        return made

    def _key(self, *, make: bool) -> bytes:
        try:
            if make and not self._path.exists():
                self._make()
        except OSError as error:
            raise self._unusable(error) from error
        try:
            if stat.S_IMODE(self._path.stat().st_mode) & 0o077:
                self._path.chmod(0o600)
            key = bytes.fromhex(self._path.read_text(encoding="ascii"))
        except FileNotFoundError as error:
            raise ConfigError(
                f"is not there, the key that this was encrypted with: {_BACK}", file=self._path
            ) from error
        except OSError as error:
            raise self._unusable(error) from error
        except ValueError:
            key = b""
        if len(key) != _KEY_BYTES:
            raise ConfigError(
                f"is no key of 64 hex digits: {_BACK}, or move the file away for a new key", file=self._path
            )
        return key

    def _unusable(self, error: OSError) -> ConfigError:
        return ConfigError(
            f"cannot be used: {error.strerror}; it holds the key that state is encrypted with, so make it a file of "
            "yours, or set POINTSMAN_HOME to a folder of yours",
            file=self._path,
        )

    def _make(self) -> None:
        """Create the key file; if several processes try at once, only one creates it."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(self._path.with_suffix(".lock")):
            if not self._path.exists():
                replace_private(self._path, f"{secrets.token_hex(_KEY_BYTES)}\n".encode())


UNSEALED: Final = (
    "this state is not encrypted with your key, so it may be another user's and is not used: 'pointsman trust' shows "
    "what an earlier version wrote without a key and takes it over, or start the run or batch again"
)
"""The message for data that came with a folder, or that a version without encryption wrote."""
_BACK: Final = "put back the key file of that time, without which this cannot be read, or start the run again"


def user_seal() -> Seal:
    """Return the seal with the key of the user who runs this process.

    Raises:
        ConfigError: The environment names no home folder.
    """
    folder = state_folder(environment())
    if folder is None:
        raise ConfigError(
            "there is no folder for the key that state is encrypted with: set HOME, or POINTSMAN_HOME, to a folder of "
            "yours"
        )
    return _seal(folder)


_seal = cache(Seal)
