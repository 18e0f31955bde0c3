"""``faimed3d serve``: the masks of new studies, each once, as they come into a folder or an archive."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from faimed3d.command.channels import channels_in, refuse_other_count, refuse_other_frames
from faimed3d.command.error_text import text_of_error
from faimed3d.command.exit_codes import CANNOT_GO_ON, DONE, SOME_FAILED
from faimed3d.command.progress import bars_on_stderr
from faimed3d.command.scans import chosen
from faimed3d.command.served_records import DELIVERED, EMPTY, FAILED, WRITTEN, CaseRecord, Records, StudyRecord
from faimed3d.command.studies import Settling, Study, StudySource, hash_of
from faimed3d.command.watched_folder import WatchedFolder
from faimed3d.errors import ArchiveError, ArchiveUnavailable, DamagedFile
from faimed3d.inference import load_model
from faimed3d.inference.dicom_results import SUFFIX, algorithm_of, save_object
from faimed3d.inference.earlier_run import mark_of_model
from faimed3d.io import READ_SUFFIXES, volume_suffix

_NAP = 0.2  # seconds after which a signal is seen at the latest
_LONGEST_WORD = 60  # letters of a folder or a description in the name of a result
_LONGEST_PAUSE = 900.0  # seconds until a study is tried again whose fault may pass, such as a full disk
# of the disk, the archive or the memory, and not of a study
_PASSING = (OSError, ArchiveError, MemoryError, torch.OutOfMemoryError)

_ADVICE = "Give --description PATTERN for each, in their order, such as --description 'T1*' --description '*FLAIR*'"


def run(options: argparse.Namespace) -> int:
    """Serve until told to end; with ``--once`` until nothing is left to do."""
    if options.watch and (options.since or options.certificates):
        raise ValueError("--since and --certificates are of an archive: they go with --pacs")
    options.form = options.form or ("seg" if options.pacs else "nii")
    if options.pacs and options.form == "nii":
        raise ValueError("--form nii: an archive takes DICOM objects alone: seg or rtstruct")
    if options.sr and options.form == "nii":
        raise ValueError("--sr is of DICOM objects: pass --form seg or --form rtstruct, too")
    watched = WatchedFolder(options.watch, options.out) if options.watch is not None else None
    model = load_model(options.model, device=options.device, resample_to_first=options.resample_to_first)
    if options.description or options.pacs:  # a file that comes into a folder may hold all channels
        refuse_other_count(model, len(options.description) or 1, _ADVICE)
    records = Records(options.out)
    with records.locked():
        source = watched or _archive(options, records)
        records.refuse_others({"model": mark_of_model(model), "form": options.form})
        server = Server(source, records, model, options)
        with bars_on_stderr(), _ended_by_signals(server):
            server.serve()
    return server.exit_code


@dataclass(frozen=True)
class _Fault:
    """What may pass, such as a full disk: when the next try is, in seconds of ``time.monotonic``."""

    text: str
    pause: float
    next_try: float


def _archive(options: argparse.Namespace, records: Records) -> StudySource:
    """The archive, whose user, password or token are in the environment."""
    from faimed3d.archive import DicomWeb
    from faimed3d.command.watched_archive import WatchedArchive

    user, password, token = (os.environ.get(f"FAIMED3D_PACS_{name}") for name in ("USER", "PASSWORD", "TOKEN"))
    auth = token or ((user, password or "") if user else None)
    fetched = os.path.join(options.out, "fetched")
    archive = DicomWeb(options.pacs, auth, cache=fetched, certificates=options.certificates)
    since = records.first_day(options.since or f"{datetime.now():%Y%m%d}", renew=options.since is not None)
    return WatchedArchive(archive, since, options.modality, options.description)


class Server:
    """Looks at a source of studies again and again, and serves those that are whole and were not served before.

    Args:
        source: where studies come to.
        records: what was done.
        model: predicts.
        options: of the command.
    """

    def __init__(self, source: StudySource, records: Records, model: Any, options: argparse.Namespace) -> None:
        self.source, self.records, self.model, self.options = source, records, model, options
        self.stopping, self.exit_code = False, DONE
        self._settling = Settling(options.quiet)
        self._done: dict[str, str] = {}  # signature of each study of which all is done
        self._faults: dict[str, _Fault] = {}
        self._has_looked = False
        self._log, self._failures = sys.stdout, sys.stderr

    def serve(self) -> None:
        """Serve until ``stopping`` is set; with the option ``once`` until nothing is left to do."""
        self.say(f"waiting for studies; results go to {self.options.out}")
        while not self.stopping:
            studies = self._look()
            looked = time.monotonic()
            settled = self._settling.settled(studies, looked)
            there = {"", *(study.key for study in studies)}
            self._faults = {key: fault for key, fault in self._faults.items() if key in there}
            for study in settled:
                if self._is_due(study) and not self.stopping:
                    self._serve(study)
                    if time.monotonic() - looked > self.options.every:
                        break  # the others may have changed since
            else:
                if self.options.once and len(settled) == len(studies):
                    break
                self._wait(self.options.every)
        if self.stopping:
            self.exit_code = DONE
        elif self._faults:
            self.exit_code = CANNOT_GO_ON

    def say(self, text: str, failed: bool = False) -> None:
        """Write a line of the log, with the time: failures to stderr."""
        line = f"{datetime.now():%Y-%m-%d %H:%M:%S}  {text}"
        with suppress(OSError):  # a log that nobody can read must not have a study served twice; the records tell all
            print(line, file=self._failures if failed else self._log, flush=True)

    def _look(self) -> list[Study]:
        try:
            studies = list(self.source.look())
        except _PASSING as error:
            if not self._has_looked and not isinstance(error, ArchiveUnavailable):
                raise  # so it will be: a wrong address, no such user, ...
            self._note_fault("", "no look is possible", error)
            return []
        self._has_looked = True
        self._faults.pop("", None)
        return studies

    def _is_due(self, study: Study) -> bool:
        fault = self._faults.get(study.key)
        return self._done.get(study.key) != study.signature and (fault is None or time.monotonic() >= fault.next_try)

    def _serve(self, study: Study) -> None:
        """Serve what is new of a study, and keep a record of each step."""
        try:
            record = self.records.read(study.key)
            # other volumes may be wanted now than when it was recorded
            wanted = hash_of(study.signature, self.options.modality or "", *(self.options.description or [""]))
            if record.signature != wanted and self._serve_volumes(study, record):
                record.signature = wanted
                self.records.write(study.key, record)
        except (*_PASSING, DamagedFile) as error:  # nothing wrong with the study
            self._note_fault(study.key, study.name, error)
            return
        self._faults.pop(study.key, None)
        if record.signature == wanted:
            self._done[study.key] = study.signature
            study.release()

    def _serve_volumes(self, study: Study, record: StudyRecord) -> bool:
        """Serve the volumes of a study that were not served as they are; False if it was stopped before the last."""
        try:
            found = study.volumes()
            cases = self._cases_of(found)
        except _PASSING:
            raise
        except Exception as error:  # a study that cannot be read, whatever is wrong, must not stop the others
            record.why = self._pass_over(study.name, self._text_of(error))
            return True
        damaged = found.attrs.get("damaged", ())
        record.why = self._pass_over(study.name, damaged[0], len(damaged) - 1) if damaged else ""
        for channels in cases:
            if self.stopping:
                return False
            key, signatures = channels[0]["key"], [study.signature_of(row["files"]) for row in channels]
            signature = hash_of(*signatures) if len(channels) > 1 else signatures[0]
            case = record.cases.get(key)
            if case is None or case.signature != signature or self._is_gone(case):
                before, case = case, self._predict(study, channels, signature)
                self._remove(set(before.outputs if before else ()) - set(case.outputs))
                record.cases[key] = case
                self.records.write(study.key, record)
            if case.outcome == WRITTEN:
                self.source.deliver([os.path.join(self.options.out, name) for name in case.outputs])
                case.outcome = DELIVERED
                self.records.write(study.key, record)
        return True

    def _cases_of(self, found: pd.DataFrame) -> list[list[pd.Series]]:
        """The channels of each case of a study: of a model of several channels the study is one case, or none."""
        rows = chosen(found, self.options.modality, self.options.description)
        if len(self.options.description) < 2:
            if not all(map(os.path.isfile, rows["folder"])):
                refuse_other_count(self.model, 1, _ADVICE)
            return [[row] for _, row in rows.iterrows()]
        channels = channels_in(rows, self.options.description)
        refuse_other_frames(channels)
        return [channels] if channels else []

    def _remove(self, names: set[str]) -> None:
        """Remove results of a volume as it was before: their names may be others than those of the new ones."""
        for name in names:
            Path(self.options.out, name).unlink(missing_ok=True)

    def _is_gone(self, case: CaseRecord) -> bool:
        """Whether a result that may not be delivered yet is no longer there."""
        paths = (os.path.join(self.options.out, name) for name in case.outputs)
        return case.outcome == WRITTEN and not all(map(os.path.exists, paths))

    def _predict(self, study: Study, channels: list[pd.Series], signature: str) -> CaseRecord:
        """Predict a case and write what was found; one with which this cannot be done is a record, too."""
        where = ", ".join(filter(None, (study.name, *(row["description"] for row in channels))))
        begin = time.monotonic()
        try:
            sources = [Path(row["folder"]) if os.path.isfile(row["folder"]) else row for row in channels]
            source = sources if len(sources) > 1 else sources[0]
            asked = {"memory": self.options.memory, "outside": self.options.outside}
            how = {name: value for name, value in asked.items() if value is not None}
            mask = self.model.predict_volume(source, progress=self._failures.isatty(), **how)
            outputs = self._save(mask, sources[0], _name_of(study, channels[0]))
        except _PASSING:
            raise
        except Exception as error:  # as of a study
            return CaseRecord(signature, FAILED, why=self._pass_over(where, self._text_of(error)))
        took = f"{time.monotonic() - begin:.0f} s"
        self.say(f"{where}: {', '.join(outputs) or 'no class was found, so no object is written'}, {took}")
        return CaseRecord(signature, WRITTEN if outputs else EMPTY, outputs)

    def _save(self, mask: Any, source: Any, name: str) -> list[str]:
        """Write the files of a result, which refer to a scan, the first of its channels; their names."""
        if self.options.form == "nii":
            mask.save(os.path.join(self.options.out, f"{name}.nii.gz"))
            return [f"{name}.nii.gz"]
        names, algorithm = [f"{name}{SUFFIX}"], algorithm_of(self.model)
        if not save_object(mask, Path(self.options.out, names[0]), source, self.options.form, algorithm):
            return []
        if self.options.sr:
            names.append(f"{name}.sr{SUFFIX}")
            mask.report(source, algorithm).save(os.path.join(self.options.out, names[1]))
        return names

    def _pass_over(self, name: str, why: str, more: int = 0) -> str:
        """Name what is passed over until its files change, and why; ``more`` files are so, too."""
        self.exit_code = SOME_FAILED
        why += f" (and {more} more)" if more else ""
        self.say(f"{name}: passed over: {why}", failed=True)
        return why

    def _note_fault(self, key: str, name: str, error: Exception) -> None:
        """Tell a fault once that may pass, and let the next try wait, each time twice as long."""
        text, before = self._text_of(error), self._faults.get(key)
        if before is None or before.text != text:
            self.say(f"{name}: {text}. Tried again later", failed=True)
        pause = min(_LONGEST_PAUSE, self.options.every if before is None else 2 * before.pause)
        self._faults[key] = _Fault(text, pause, time.monotonic() + pause)

    def _text_of(self, error: Exception) -> str:
        """What an error says, in one line, after where it came from if that is asked for."""
        if self.options.debug:
            traceback.print_exception(error, file=self._failures)
        return re.sub(r"\s*\n\s*", " ", text_of_error(error, self.options))

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self.stopping and (left := end - time.monotonic()) > 0:
            time.sleep(min(_NAP, left))


def _name_of(study: Study, row: pd.Series) -> str:
    """The name of the files of a result: of its study, its description, and the key, which no other volume has."""
    name = Path(study.name).name
    suffix = volume_suffix(name)
    words = (name[: len(name) - len(suffix)] if suffix in READ_SUFFIXES else name, row["description"])
    clean = (re.sub(r"[^\w.+-]+", "_", word).strip("_.")[:_LONGEST_WORD] for word in words)
    return "_".join([*filter(None, clean), row["key"]])


@contextmanager
def _ended_by_signals(server: Server) -> Iterator[None]:
    """Let SIGINT and SIGTERM end the server after the case in work, and a second one at once."""

    def end(number: int, frame: Any) -> None:
        if server.stopping:
            raise KeyboardInterrupt
        server.stopping = True
        os.write(2, b"stopping after the case in work; once more to stop at once\n")  # print may be at work right now

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
