"""Every error that a client gets: status, code and message in the shape OpenAI's clients know."""

import json
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from starlette.responses import Response

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "unavailable_error",
    504: "timeout_error",
}


@dataclass
class HttpError(Exception):
    """Raised to answer a request with a status of 400 or more; travels from worker to API process.

    Args:
        status: HTTP status.
        code: What a program can compare.
        message: What a person can read; never put into it what the client sent.
        param: The field that is at fault.
        retry_after: Seconds after which trying again makes sense.
        headers: Further headers of the response.
    """

    status: int  # the first three are given by position: pickle makes the error with them anew
    code: str
    message: str
    _: KW_ONLY
    param: str | None = None
    retry_after: float | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Turn `retry_after` into a header."""
        if self.retry_after is not None:
            self.headers["Retry-After"] = str(max(1, round(self.retry_after)))

    def __str__(self) -> str:
        """Return the message."""
        return self.message

    def body(self) -> dict[str, Any]:
        """Return the error object."""
        error = {
            "message": self.message,
            "type": _TYPES.get(self.status, "server_error" if self.status >= 500 else "api_error"),
            "param": self.param,
            "code": self.code,
        }
        return {"error": error}

    def response(self) -> "JsonResponse":
        """Return the HTTP response."""
        return JsonResponse(self.body(), self.status, self.headers)


class JsonResponse(Response):
    """A JSON response that no text can break."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Write JSON; what UTF-8 cannot hold (a lone surrogate in a field's name) becomes "?"."""
        return json.dumps(content, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
