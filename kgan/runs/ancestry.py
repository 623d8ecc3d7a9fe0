"""The runs whose weights a run started from, as its run.json, its cards and the marks of its images name them."""

from collections.abc import Mapping

from kgan.runs.schema import AncestorRecord


def ancestors(record: Mapping, checkpoint_sha256: str, step: int, ema: bool) -> list[AncestorRecord]:
    """Those of a run that starts from this checkpoint of the run with this `record`: it comes first, then its own.

    Raises KeyError if the record does not say which run it is of, and what data that was trained on.
    """
    parent = AncestorRecord(
        run_id=record["id"],
        checkpoint_sha256=checkpoint_sha256,
        step=step,
        ema=ema,
        dataset=record["dataset"],
    )
    return [parent, *record.get("ancestors", [])]


def named(record: Mapping) -> list[dict[str, str]]:
    """What the marks of a run's images say of its ancestors, the nearest first."""
    return [
        {
            "run_id": ancestor["run_id"],
            "checkpoint_sha256": ancestor["checkpoint_sha256"],
            "data_sha256": ancestor["dataset"].get("sha256", ""),
            "data_license": ancestor["dataset"].get("license", ""),
        }
        for ancestor in record.get("ancestors", [])
    ]


def in_words(ancestor: AncestorRecord) -> str:
    """One line: which run, at which step, trained on what, under which licence."""
    data = ancestor["dataset"]
    name, license = data.get("name", "unnamed images"), data.get("license") or "no licence stated"
    return f"run {ancestor['run_id']} at step {ancestor.get('step', 0):,}, trained on {name} ({license})"
