"""Which 32 bytes are a public key of Ed25519. Who first asks loads the library: many servers never do."""


def is_sound_point(key: bytes) -> bool:
    """Whether these 32 bytes are a point of the main subgroup, and not one of small order.

    Libraries verify with points of small order, for which signatures can be made without a private key.
    """
    from nacl.bindings import crypto_core_ed25519_is_valid_point

    return crypto_core_ed25519_is_valid_point(key)
