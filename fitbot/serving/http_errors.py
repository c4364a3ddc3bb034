"""Every error that a client gets: status, code and message in the shape OpenAI's clients know."""

import json
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Failure:
    """An `HttpError` as it travels between processes; plain data can always be pickled."""

    status: int
    code: str
    message: str
    retry_after: float | None = None
    param: str | None = None


class HttpError(Exception):
    """Raised to answer a request with a status of 400 or more."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
        headers: dict[str, str] | None = None,
    ):
        """Take what the client is told; never put what it sent into the message.

        Args:
            status: HTTP status.
            code: What a program can compare.
            message: What a person can read.
            param: The field that is at fault.
            retry_after: Seconds after which trying again makes sense.
            headers: Further headers of the response.
        """
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = str(max(1, round(retry_after)))

    @classmethod
    def of(cls, failure: Failure) -> "HttpError":
        """Return the error for what failed, in this process or another."""
        return cls(
            failure.status,
            failure.code,
            failure.message,
            param=failure.param,
            retry_after=failure.retry_after,
        )

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
