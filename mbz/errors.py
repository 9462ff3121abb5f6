"""Errors of the outside world: bad archives, missing models, refused limits.

Every message is one sentence that says what is wrong and, where it helps, what to do. The command
line turns `DataError` into exit code 2 and every other `MbzError` into exit code 1.
"""


class MbzError(Exception):
    """Base of all errors that mbz raises for reasons outside its own code."""


class ModelError(MbzError):
    """A model folder cannot be used: missing, unreadable, damaged, or failing its self-test."""


class FailedElsewhere(MbzError):
    """Another process of the same training failed, and said why."""


class DataError(MbzError):
    """The archive cannot be decoded as it is; the base of all errors about archive content."""


class BadMagic(DataError):
    """The input is not an mbz archive."""


class UnknownVersion(DataError):
    """The archive was made by a format or arithmetic version that this release does not know."""


class Truncated(DataError):
    """The archive ends before its end mark."""


class Corrupt(DataError):
    """A length, a reserved bit or a checksum is wrong."""


class ModelMismatch(DataError):
    """The archive needs a model that is not here, or the model given is another one."""


class LimitExceeded(DataError):
    """Decoding would need more memory or output than the limits allow."""
