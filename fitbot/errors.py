"""Every error fitbot raises on purpose.

FitbotError
├── DataError      a preference file or record is unusable           (also a ValueError)
├── ConfigError    a setting is wrong, or two contradict each other  (also a ValueError)
└── AdapterError   an adapter or checkpoint is missing or mismatched (also a RuntimeError)

A message says where (file, record, key or flag), what was found, and what to do. Each class keeps
the builtin it replaces, so `except ValueError` goes on working.
"""


class FitbotError(Exception):
    """Any error that fitbot raises on purpose; the command line prints it without a traceback."""


class DataError(FitbotError, ValueError):
    """Raised when a preference file or one of its records cannot be used."""


class ConfigError(FitbotError, ValueError):
    """Raised when a setting is wrong or two settings contradict each other."""


class AdapterError(FitbotError, RuntimeError):
    """Raised when an adapter or checkpoint is missing, damaged or of another model."""
