"""Headers of HTTP responses, and the reasons of failed connections in words."""

import re
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from aoft_bench.utils.errors import message_of


def origin_of(url: str, response: requests.Response) -> dict[str, str | None]:
    """URL, ETag and date of the file on the server, the content of the sidecar."""
    return {"url": url, "etag": response.headers.get("ETag"), "modified": response.headers.get("Last-Modified")}


def validator_of(origin: Mapping[str, str | None]) -> str | None:
    """The value of If-Range (RFC 9110, 13.1.5), which must not be a weak ETag."""
    etag = origin.get("etag")
    return etag if etag and not etag.startswith("W/") else origin.get("modified")


def total_of(response: requests.Response, done: int) -> int | None:
    """The size of the whole file, from the server's headers."""
    if response.status_code == 206:
        match = re.search(r"/(\d+)$", response.headers.get("Content-Range", ""))
        return int(match[1]) if match else None
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def find_cause(error: BaseException | None, kind: type[Any]) -> Any:
    """The first exception of a kind among the causes and arguments of an exception; None if there is none."""
    seen: list[BaseException] = []
    pending: list[Any] = [error]
    while pending:
        one = pending.pop(0)
        # a RequestException is an OSError, but only wraps another one
        if isinstance(one, kind) and not isinstance(one, requests.RequestException):
            return one
        if isinstance(one, BaseException) and one not in seen:
            seen.append(one)
            pending += [one.__cause__, getattr(one, "reason", None), *one.args, one.__context__]
    return None


def is_hopeless(error: Exception) -> bool:
    """Whether the host has no address or refuses connections."""
    return bool(find_cause(error, socket.gaierror) or find_cause(error, ConnectionRefusedError))


def reason_of(error: Exception, url: str, timeout: float) -> str:
    """The reason of a failed connection, in words; `timeout` is the longest time in seconds without a byte."""
    host = urlsplit(url).hostname
    if find_cause(error, socket.gaierror):
        return f"the name {host} cannot be resolved"
    if find_cause(error, ConnectionRefusedError):
        return f"{host} refuses the connection"
    if isinstance(error, requests.ConnectTimeout):
        return f"{host} does not answer"
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
        return f"nothing arrived for {timeout:g} s"
    cause = find_cause(error, OSError)
    return f"the connection broke ({cause.strerror or message_of(cause)})" if cause else "the connection ended early"
