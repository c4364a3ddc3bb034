"""Every error fitbot raises on purpose.

FitbotError
├── DataError      a preference file or record is unusable           (also a ValueError)
├── ConfigError    a setting is wrong, or two contradict each other  (also a ValueError)
│   └── NoMemoryError  the device is too small for the settings       (also a ValueError)
├── AdapterError   an adapter or checkpoint is missing or mismatched (also a RuntimeError)
│   └── RoomError  an engine has no room for one adapter more        (also a RuntimeError)
├── LostError      another process of a fit is gone or silent       (also a RuntimeError)
├── NotFiniteError a fit's loss or weights are infinite or NaN      (also an ArithmeticError)
├── RequestError   a question can never be answered as asked         (also a ValueError)
│   └── ContextLengthError  a conversation does not fit the context  (also a ValueError)
├── BusyError      an engine has no room now; try again              (also a RuntimeError)
└── EngineError    an engine is dead                                 (also a RuntimeError)

A message says where (file, record, key or flag), what was found, and what to do. Each class keeps
the builtin it replaces, so `except ValueError` goes on working.
"""


class FitbotError(Exception):
    """Any error that fitbot raises on purpose; the command line prints it without a traceback."""


class DataError(FitbotError, ValueError):
    """Raised when a preference file or one of its records cannot be used."""


class ConfigError(FitbotError, ValueError):
    """Raised when a setting is wrong or two settings contradict each other."""


class NoMemoryError(ConfigError):
    """Raised when the memory does not suffice; the message names settings that need less."""


class AdapterError(FitbotError, RuntimeError):
    """Raised when an adapter or checkpoint is missing, damaged or of another model."""


class RoomError(AdapterError):
    """Raised when an engine answers with as many adapters as it has room for."""


class LostError(FitbotError, RuntimeError):
    """Raised when another process of the same fit has died or cannot be reached."""


class NotFiniteError(FitbotError, ArithmeticError):
    """Raised when a loss, a log-prob or a weight of a fit has become infinite or NaN."""


class RequestError(FitbotError, ValueError):
    """Raised when a request to an engine can never be answered as it is."""


class ContextLengthError(RequestError):
    """Raised when a conversation leaves no room for an answer in an engine's context."""

    @classmethod
    def of(cls, tokens: int, context: int) -> "ContextLengthError":
        """Make one for a prompt of so many tokens."""
        # LiteLLM and others know an overflow by these words of OpenAI's.
        return cls(
            f"this model's maximum context length is {context} tokens, and the prompt has "
            f"{tokens}, which leaves no room for an answer; leave out old turns"
        )


class BusyError(FitbotError, RuntimeError):
    """Raised when an engine has no room for a request now.

    Args:
        message: What is full.
        retry_after: Seconds after which trying again makes sense.
    """

    def __init__(self, message: str, retry_after: float = 1.0):
        """Take the message and the wait."""
        super().__init__(message)
        self.retry_after = retry_after


class EngineError(FitbotError, RuntimeError):
    """Raised when an engine has failed and answers nothing any more."""
