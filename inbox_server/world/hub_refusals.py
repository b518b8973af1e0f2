"""What the hub refuses, in the real hub's shape: a status, and JSON with the name of an error class and a message."""

from typing import Final

_STATUSES: Final = {
    "ValidationError": 401,
    "AuthTokenTimestampValidationError": 401,
    "BadPathError": 403,
    "DoesNotExist": 404,
    "ConflictError": 409,
    "PreconditionFailedError": 412,
    "PayloadTooLargeError": 413,
    "ServerError": 500,
}


class HubRefused(Exception):
    """`error` is one of the real hub's classes; clients look at the status and, in logs, at the rest."""

    def __init__(self, error: str, message: str, *, etag: str | None = None) -> None:
        super().__init__(message)
        self.error = error
        self.status = _STATUSES[error]
        self.etag = etag
        """The tag of what is stored now, in the refusal of a condition that did not hold."""

    def document(self) -> dict[str, str]:
        if self.status == 500:
            return {"message": str(self)}
        document = {"message": str(self), "error": self.error}
        return document if self.etag is None else document | {"etag": self.etag}
