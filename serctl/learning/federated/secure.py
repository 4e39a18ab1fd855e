"""Secure aggregation: the server learns the sum of what the parties send in a round, and none of the terms.

A party adds random numbers to its values: one mask of its own, and one for each other party, which that party
subtracts. The masks between parties cancel out in the sum. So that a party may drop out, each divides the seed of its
own mask and its private key among all parties: the server receives, from a number of them, the seeds of those whose
values it has, and the keys of those whose values it lacks, never both of one party.

Values are fixed-point numbers modulo 2^64. Keys are agreed by X25519, derived by HKDF-SHA256, and used once: all are
new in every round. Masks are streams of AES-256-CTR. Flower's SecAgg+ is written for its older interface, and draws
its masks from a generator with a seed of 32 bits, which the server could try out.

Source: Bonawitz et al. 2017, doi:10.1145/3133956.3133982 (against a server that is curious,
but follows the protocol).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from serctl.errors import FederationError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from numpy.typing import NDArray

LIMIT = 1e6
"""Largest magnitude of a value and of a sum."""

_SCALE = 2.0**40
"""Fine enough for gradients, which the local optimizer divides by their size."""

_KEY_BYTES = 32
_NONCE_BYTES = 12
_SEED, _PRIVATE = b"s", b"k"


class MaskedParty:
    """What a party does in one round; node: its id."""

    def __init__(self, node: int) -> None:
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

        self.node = node
        self._masking, self._sealing = X25519PrivateKey.generate(), X25519PrivateKey.generate()
        self._seed = os.urandom(_KEY_BYTES)
        self._keys: dict[int, bytes] = {}
        self._opened: dict[int, bytes] = {}
        self._masked = self._revealed = False

    @property
    def public_keys(self) -> bytes:
        """Two public keys for the other parties: of the masks, and of the shares."""
        return _public(self._masking) + _public(self._sealing)

    def share(self, keys: Mapping[int, bytes], threshold: int) -> dict[int, bytes]:
        """Divide the seed and the private key among the parties.

        Args:
            keys: public keys of all parties of the round, this one among them.
            threshold: how many of them can restore a secret together.

        Returns:
            The encrypted share of each other party.

        Raises:
            FederationError: the keys are not those of this party, or the threshold would let a minority open values.
        """
        if keys.get(self.node) != self.public_keys or not len(keys) / 2 < threshold <= len(keys):
            raise FederationError(
                f"expected the keys of all parties and a majority. Received: {len(keys)}, {threshold}"
            )
        self._keys = dict(keys)
        nodes = sorted(keys)
        seeds, privates = (_divide(secret, threshold, len(nodes)) for secret in (self._seed, _raw(self._masking)))
        shares = {node: seed + private for node, seed, private in zip(nodes, seeds, privates, strict=True)}
        self._opened[self.node] = shares.pop(self.node)
        return {node: self._cipher(node).encrypt(*self._sealed(self.node, node, text)) for node, text in shares.items()}

    def _sealed(self, sender: int, receiver: int, text: bytes) -> tuple[bytes, bytes, bytes]:
        """Nonce, text and what belongs to it; each direction has a nonce of its own, since both use one key once."""
        return bytes([sender > receiver]).ljust(_NONCE_BYTES, b"\0"), text, f"{sender}>{receiver}".encode()

    def _cipher(self, node: int) -> AESGCM:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(_derive(self._sealing, self._keys[node][_KEY_BYTES:], b"shares"))

    def mask(self, values: NDArray[np.floating], shares: Mapping[int, bytes]) -> NDArray[np.uint64]:
        """Hide values.

        Args:
            values: shape (n,).
            shares: those that other parties made for this one; a party without one takes no part.

        Returns:
            Uniform noise for anyone who lacks the secrets, shape (n,).

        Raises:
            FederationError: a value is not finite or too large, a share was changed, or it is asked for a second time,
                when the same masks would show how the values differ.
        """
        from cryptography.exceptions import InvalidTag

        if self._masked:
            raise FederationError("the server asks for values twice in a round")
        self._masked = True
        try:
            for node, sealed in shares.items():
                self._opened[node] = self._cipher(node).decrypt(*self._sealed(node, self.node, sealed))
        except (InvalidTag, KeyError) as error:
            raise FederationError("the share of another party was changed on its way") from error
        masked = encode(values) + _stream(self._seed, len(values))
        for node in shares:
            mask = _stream(_derive(self._masking, self._keys[node][:_KEY_BYTES], b"mask"), len(values))
            masked = masked + mask if self.node < node else masked - mask
        return masked

    def reveal(self, present: Collection[int], dropped: Collection[int]) -> dict[int, bytes]:
        """Give the server the shares that it needs to open the sum; once only.

        Args:
            present: parties whose values the server has.
            dropped: parties whose values it lacks.

        Raises:
            FederationError: it asks again, or for both secrets of a party.
        """
        if self._revealed or set(present) & set(dropped):
            raise FederationError("the server asks for more shares than a sum needs")
        self._revealed = True
        half = {node: len(text) // 2 for node, text in self._opened.items()}
        seeds = {node: _SEED + self._opened[node][: half[node]] for node in present if node in half}
        privates = {node: _PRIVATE + self._opened[node][half[node] :] for node in dropped if node in half}
        return seeds | privates


def open_sum(
    masked: Mapping[int, NDArray[np.uint64]],
    keys: Mapping[int, bytes],
    revealed: Mapping[int, Mapping[int, bytes]],
    *,
    threshold: int,
) -> NDArray[np.float64]:
    """Compute the sum of the values of the parties that sent theirs.

    Args:
        masked: values of each party, as MaskedParty.mask gave them.
        keys: public keys of all parties whose shares were passed on.
        revealed: what each party that is left gave, as MaskedParty.reveal did.
        threshold: as for MaskedParty.share.

    Raises:
        FederationError: fewer parties than the threshold are left.
    """
    if min(len(revealed), len(masked)) < threshold:
        raise FederationError(
            f"expected {threshold} parties to open the sum of a round. Received: {min(len(revealed), len(masked))}"
        )
    total: NDArray[np.uint64] = np.sum(np.stack(list(masked.values())), axis=0, dtype=np.uint64)
    for node in keys:
        secret = _restore([shares[node][1:] for shares in revealed.values() if node in shares])
        if node in masked:
            total = total - _stream(secret, len(total))
            continue
        private = _private(secret)
        for other in masked:
            mask = _stream(_derive(private, keys[other][:_KEY_BYTES], b"mask"), len(total))
            total = total - mask if other < node else total + mask
    return decode(total)


def encode(values: NDArray[np.floating]) -> NDArray[np.uint64]:
    """Return values as fixed-point numbers modulo 2^64.

    Raises:
        FederationError: a value is not finite or too large.
    """
    largest = float(np.abs(values).max(initial=0.0))
    if not largest <= LIMIT:
        raise FederationError(f"expected values of at most {LIMIT:g}. Received: {largest:g}")
    return np.rint(np.asarray(values, np.float64) * _SCALE).astype(np.int64).astype(np.uint64)


def decode(values: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return fixed-point numbers as floating-point ones."""
    return values.view(np.int64) / _SCALE


def _divide(secret: bytes, threshold: int, count: int) -> list[bytes]:
    from flwr.common.secure_aggregation.crypto.shamir import create_shares

    return create_shares(secret, threshold, count)


def _restore(shares: list[bytes]) -> bytes:
    from flwr.common.secure_aggregation.crypto.shamir import combine_shares

    return combine_shares(shares)


def _public(key: X25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def _raw(key: X25519PrivateKey) -> bytes:
    return key.private_bytes_raw()


def _private(raw: bytes) -> X25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    return X25519PrivateKey.from_private_bytes(raw)


def _derive(own: X25519PrivateKey, other: bytes, purpose: bytes) -> bytes:
    """The key that two parties share."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    agreed = own.exchange(X25519PublicKey.from_public_bytes(other))
    return HKDF(hashes.SHA256(), _KEY_BYTES, salt=None, info=b"serctl " + purpose).derive(agreed)


def _stream(key: bytes, count: int) -> NDArray[np.uint64]:
    """Random numbers of a key that is used once."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    encryptor = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    return np.frombuffer(encryptor.update(bytes(8 * count)), dtype="<u8")
