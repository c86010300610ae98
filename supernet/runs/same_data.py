"""Whether data are those that a run began with: noted down at its beginning, compared whenever it is found again."""

import hashlib
import json
import logging
import time
from typing import TYPE_CHECKING

from .. import files
from ..config import DataConfig
from ..data.digests.digest import Record, as_json, changes, from_json
from ..data.digests.former_reading import reads_otherwise_now
from ..data.digests.sources import record_of_files, record_of_samples
from ..errors import SupernetError
from .folder import RunFolder

if TYPE_CHECKING:
    from ..data.splits import Splits

__all__ = [
    "FILE", "compare_finished", "compare_or_note", "noted_digest", "refuse_other_reading", "tell_finished",
]  # fmt: skip

FILE = "data_digest.json"  # in the run folder
UNREAD = {"search": ("test",)}  # splits that a stage never reads

log = logging.getLogger(__name__)


def compare_or_note(run: RunFolder, data: DataConfig, stage: str, splits: "Splits", own: bool) -> None:
    """Notes the record of the data in a new run, and compares it in one that is there; `own` data have no settings.

    Raises SupernetError where they differ.
    """
    record = None if own else record_of_files(data)
    record = record or record_of_samples(splits.sources(test=stage not in UNREAD))
    if run.new or (not _compare(run, data, stage, record) and not run.finished):
        files.write_json(run.path / FILE, as_json(record))


def compare_finished(run: RunFolder, data: DataConfig, stage: str, seed: int) -> None:
    """Raises SupernetError where the data of a finished run have changed, or are not there any more."""
    try:
        record = record_of_files(data)
        if record is None:
            from ..data.splits import open_data

            record = record_of_samples(open_data(data, seed).sources(test=stage not in UNREAD))
    except SupernetError as error:
        raise SupernetError(f"{error}; what an earlier run gave is in {run.result_path}") from None
    _compare(run, data, stage, record)


def noted_digest(run: RunFolder) -> str | None:
    """16 hex digits of what a run has noted of its data, which its checkpoints carry too; None of one from before."""
    if not (run.path / FILE).is_file():
        return None
    text = json.dumps(run.record(FILE), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def tell_finished(run: RunFolder) -> None:
    """One line: the run that was found has ended, when, and what would start anew."""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.result_path.stat().st_mtime))
    log.info("%s finished on %s, this is its result; run.fresh=true, or another run.name, starts anew", run.path, when)


def _compare(run: RunFolder, data: DataConfig, stage: str, record: Record) -> bool:
    """Whether there is a record to compare with; raises SupernetError where it differs."""
    path = run.path / FILE
    if not path.is_file():
        refuse_other_reading(run, data)
        log.warning("%s is from before data were compared: whether its data have changed is not known", run.path)
        return False
    noted = from_json(run.record(FILE), str(path))
    if differences := changes(noted, record, UNREAD.get(stage, ())):
        raise SupernetError(
            f"the data of {run.path} are others now{_elsewhere(run, data)}: {differences}; run.fresh=true "
            "starts anew and moves the run aside, another run.name keeps both"
        )
    return True


def refuse_other_reading(run: RunFolder, data: DataConfig) -> None:
    """Raises SupernetError for a stopped run of before whose data were read otherwise than they would be now."""
    if not run.finished and not run.new and (texts := reads_otherwise_now(data)):
        raise SupernetError(
            f"{run.path} is from before data were compared, and cannot go on with data that are read otherwise now: "
            f"{'; '.join(texts)}; run.fresh=true starts anew and moves the run aside, another run.name keeps both"
        )


def _elsewhere(run: RunFolder, data: DataConfig) -> str:
    """Where the run had its data, where that is another place."""
    group = run.config["config"].get("data")
    root = group.get("root") if isinstance(group, dict) else None
    return f" (data.root was {str(root)[:80]}, is {data.root})" if root != data.root else ""
