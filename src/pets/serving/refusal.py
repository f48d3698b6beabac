"""Requests and photos that are refused: a status and one plain line."""

from __future__ import annotations


class Refusal(Exception):
    """A request that is answered with an error.

    Attributes:
        status: of the HTTP response.
        line: the error, in one line.
        close: whether the connection ends with the answer, because the request was not read.
    """

    def __init__(self, status: int, line: str, close: bool = False) -> None:
        super().__init__(line)
        self.status, self.line, self.close = status, line, close

    @property
    def headers(self) -> dict[str, str]:
        """The headers that go with it."""
        retry = {"Retry-After": "1"} if self.status == 503 else {}
        return retry | ({"Connection": "close"} if self.close else {})
