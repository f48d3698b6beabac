"""Upload an export to the Hugging Face hub, with the user's own token."""

from __future__ import annotations

import logging
from pathlib import Path

from huggingface_hub import HfApi, constants, get_token

from pets.config import ExportConfig
from pets.errors import ConfigError, ExportError, reason_of
from pets.system.reachable import check_reachable

log = logging.getLogger(__name__)


def check_push(config: ExportConfig) -> None:
    """Check, before the export, that it can be uploaded.

    Raises:
        ConfigError: There is no valid token, or the hub cannot be reached.
    """
    name = f"push={config.push}"
    if config.licence is None:
        log.warning("%s: the card says license: other; licence=... chooses one", name)
    if config.dry_run:
        return
    if get_token() is None:
        raise ConfigError(
            f"{name}: there is no token of the Hugging Face hub; log in with `hf auth login`, set "
            "HF_TOKEN, or see what would be uploaded with dry_run=true"
        )
    try:
        check_reachable(constants.ENDPOINT)
        HfApi().whoami()
    except Exception as error:  # the client raises many kinds
        reason = reason_of(error)
        raise ConfigError(
            f"{name}: {constants.ENDPOINT} does not accept it now ({reason}); check the network "
            "and the token, or leave push out"
        ) from error


def push(folder: Path, config: ExportConfig) -> None:
    """Upload the files of an export; with `dry_run` list them instead.

    Raises:
        ExportError: The upload failed; the export is kept.
    """
    assert config.push is not None
    files = sorted(path for path in folder.iterdir() if path.is_file())
    seen = "private" if config.private else "public"
    address = f"{constants.ENDPOINT}/{config.push}"
    if config.dry_run:
        log.info("dry_run: would upload to %s (%s if it is new):", address, seen)
        for file in files:
            log.info("  %-20s %12s bytes", file.name, f"{file.stat().st_size:,}")
        return
    api = HfApi()
    try:
        api.create_repo(config.push, private=config.private, exist_ok=True)
        api.upload_folder(
            repo_id=config.push, folder_path=folder, allow_patterns=[file.name for file in files],
            commit_message="Export by pets",
        )  # fmt: skip
    except Exception as error:
        reason = reason_of(error)
        raise ExportError(
            f"push={config.push}: the upload failed ({reason}); the export is kept: "
            f"hf upload {config.push} {folder}"
        ) from error
    log.info("uploaded to %s; pets predict run=hf-hub:%s source=...", address, config.push)
