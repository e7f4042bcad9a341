"""Send an exported folder to a repository of the Hugging Face hub, or of the server that HF_ENDPOINT names."""

import os
import re
from pathlib import Path

from aoft_bench.utils.errors import UserError, message_of


def check_push(repository: str) -> None:
    """Raise `UserError` for a name that is none of a repository, and where there is no token. Asks no server."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*", repository):
        raise UserError(f"push={repository} names no repository; give push=OWNER/NAME")
    import huggingface_hub as hub

    if not hub.get_token():
        raise UserError(
            "push needs a token that may write: set HF_TOKEN, or run `hf auth login` once; without push= the model is "
            "exported to out= alone"
        )


def push(folder: Path, repository: str) -> str:
    """Create the repository, private, unless it exists, upload the folder as one commit, and return its address.

    Raises `UserError` for everything that a server or the way to it can refuse; the folder stays as it is.
    """
    import huggingface_hub as hub

    api = hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    try:
        address = api.create_repo(repository, private=True, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=str(folder), commit_message="Exported by aoft_bench")
    except Exception as error:  # of requests, of the hub's library, of its transfers
        raise UserError(
            f"{repository} was not updated: {_reason(error)}; the folder {folder} is whole, send it again by "
            f"`hf upload {repository} {folder}`"
        ) from None
    return str(address)


def _reason(error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    server = os.environ.get("HF_ENDPOINT", "the hub")
    known = {401: "the token is not known there", 403: "the token may not write there", 404: "it is not there"}
    if status in known:
        return f"{server} answers {status}, {known[status]}"
    if status:
        return f"{server} answers {status}"
    cause = error.__cause__ or error  # of an upload, which the hub's library wraps
    text = message_of(cause, 200)
    return f"{server} did not take it ({type(cause).__name__}: {text})"
