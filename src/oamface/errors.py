"""The exceptions of oamface. Every message says what was wrong and what to do next."""


class OamfaceError(Exception):
    """Base of every error that oamface raises on purpose."""


class ImageError(OamfaceError):
    """A picture that cannot be read, is too large, or is not an RGB array."""


class FaceError(OamfaceError):
    """Boxes or landmarks that do not describe a face."""
