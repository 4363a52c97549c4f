"""Measure a trained run, or bare features: `python -m identity.evaluate`.

    --probes DIR     photos of enrolled people, one folder per person: measures rank-1 and, with --strangers, the
                     open-set rates
    --strangers DIR  photos of people who are not enrolled, in folders of any depth
    --pairs CSV      photo pairs for 1:1 comparison, with paths relative to --pairs-root; or LFW's pairs.txt
    --no-face DIR    photos without a person: measures how many are rejected because no face is detected
    --against MODEL  another run to measure on the same photos: prints the differences, paired by person
    --groups CSV     table of who belongs to which group: prints the rates of each group

`identity.evaluation.on_photos` describes what is measured and how.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from augmentor.command_line import called_as
from augmentor.errors import InputError, LikenessError
from augmentor.model_files.user_cache import user_cache
from identity.evaluation.error_groups import GroupRates, group_table, measure_groups, read_groups
from identity.evaluation.material import Material, read_material
from identity.evaluation.on_photos import Gallery, evaluate
from identity.evaluation.paired import differences
from identity.evaluation.rates import Evaluation, Rate
from identity.networks.tensorflow_loading import load_tensorflow
from identity.runs.bare_features import BARE_MODELS, BareFeatures
from identity.runs.comparison import Comparer
from identity.runs.leak_guard import TrainingPhotos
from identity.runs.outputs import refuse_foreign, remember_output

if TYPE_CHECKING:
    from identity.evaluation.report_figures import RunHistory

_TITLES = {
    "rank1": "rank-1 (closed set)",
    "rank5": "rank-5",
    "dir_at_fpir_1": "DIR at FPIR 1 % of these strangers",
    "dir_at_fpir_10": "DIR at FPIR 10 % of these strangers",
    "tpir_at_stored_1": "TPIR at the stored 1 % threshold",
    "fpir_realised_1": "FPIR realised at that threshold",
    "tpir_at_stored_10": "TPIR at the stored 10 % threshold",
    "fpir_realised_10": "FPIR realised at that threshold",
    "eer": "1:1 EER",
    "pair_accuracy": "1:1 accuracy, 10-fold",
    "tar_at_far_1e2": "1:1 TAR at FAR 1e-2",
    "tar_at_far_1e3": "1:1 TAR at FAR 1e-3",
    "pair_accuracy_stored": "1:1 accuracy at the stored FMR 0.1 %",
    "tar_at_stored_fmr_01": "1:1 TAR at the stored FMR 0.1 %",
    "fmr_realised_01": "FMR realised at that threshold",
    "tar_at_stored_fmr_1": "1:1 TAR at the stored FMR 1 %",
    "fmr_realised_1": "FMR realised at that threshold",
    "no_face_rejected": "photos without a person: no face detected",
    "no_face_named": "photos without a person: given a name",
    "failed_to_enrol": "photos of people: no face detected",
}


def table(evaluation: Evaluation) -> str:
    """Return the protocol and the rates as a table for people to read."""
    lines = []
    for name, title in _TITLES.items():
        rate = evaluation.rates.get(name)
        if rate is not None and np.isfinite(rate.value):
            span = f"[{100 * rate.low:.2f}, {100 * rate.high:.2f}]"
            lines.append(f"{title:<40} {100 * rate.value:>7.2f} %   {span}")
    if evaluation.ms_per_face is not None:
        lines.append(f"{'time to embed and compare one face':<40} {evaluation.ms_per_face:>7.1f} ms")
    return "\n".join([*evaluation.protocol, "", *lines])


def difference_table(compared: dict[str, Rate], other: str) -> str:
    """Return the differences from another model's rates as a table for people to read.

    Args:
        compared: differences by the rate's name, as fractions.
        other: name of the other model.
    """
    lines = [
        "",
        f"Difference from {other} in percentage points (95 % intervals, same bootstrap samples of people for both):",
    ]
    for name, rate in compared.items():
        span = f"[{100 * rate.low:+.2f}, {100 * rate.high:+.2f}]"
        lines.append(f"{_TITLES[name]:<40} {100 * rate.value:>+7.2f}     {span}")
    return "\n".join(lines)


class _Parser(argparse.ArgumentParser):
    """A parser that reports a wrong call in one line."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{self.prog}: {message}")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = _Parser(called_as("identity.evaluate"), description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, help="a trained run, or bare features: face, dlib, both")
    parser.add_argument("--probes", type=Path, help="photos of enrolled people, one folder per person")
    parser.add_argument("--strangers", type=Path, help="photos of people who are not enrolled")
    parser.add_argument("--pairs", type=Path, help="CSV with the columns photo_a, photo_b and mated")
    parser.add_argument(
        "--pairs-root", type=Path, help="folder that the CSV's paths are relative to (the CSV's own)"
    )
    parser.add_argument("--no-face", type=Path, help="photos without a person")
    parser.add_argument(
        "--against",
        help="another run, or bare features with --pairs alone: print the differences, paired by person",
    )
    parser.add_argument(
        "--groups",
        type=Path,
        help="CSV with a column person and one column per grouping: print the rates of each group",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object as the last line of stdout"
    )
    parser.add_argument(
        "--report", type=Path, help="folder to write index.html, report.json and report.csv to"
    )
    parser.add_argument("--cache", type=Path, help="folder that keeps the positions of detected faces")
    parser.add_argument("--workers", type=int, help="number of processes that detect faces (all cores)")
    return parser


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.probes is None and options.pairs is None:
        raise InputError(f"{parser.prog}: give --probes, --pairs or both")
    if options.model in BARE_MODELS and (options.probes or options.strangers):
        raise InputError(
            f"{parser.prog}: --model {options.model} has nobody enrolled, so it can only compare --pairs; "
            "--probes and --strangers need a trained run"
        )
    if options.report is not None and options.report.exists() and not options.report.is_dir():
        raise InputError(f"{options.report}: not a folder, but --report needs one")
    if options.report is not None:
        refuse_foreign(options.report, ("index.html", "report.csv", "failures.csv"), "report.json")
    if options.workers is not None and options.workers < 1:
        raise InputError(f"{parser.prog}: --workers must be at least 1")
    return options


def default_cache(model: str) -> Path:
    """Return the folder that keeps the positions of detected faces.

    It is in the run; for bare features and read-only runs it is the user's cache.
    """
    if model not in BARE_MODELS and os.access(model, os.W_OK):
        return Path(model) / "evaluation_cache"
    return user_cache()


def load_model(model: str) -> tuple[Comparer, Gallery | None, TrainingPhotos | None, Path | None]:
    """Load bare features or a run.

    Args:
        model: folder of a run, or one of `BARE_MODELS`.

    Returns:
        The model as a comparer; the same as a gallery; the photos it was trained on; the folder of its training set.
        The last three are None for bare features, the last also where the run does not know its training set.

    Raises:
        InputError: The run does not exist or is damaged.
    """
    if model in BARE_MODELS:
        return BareFeatures(model), None, None, None
    if not Path(model).is_dir():
        raise InputError(
            f"{model}: no such run; --model takes a folder that identity.train wrote, or {', '.join(BARE_MODELS)}"
        )
    from identity.runs.bundle import Bundle  # imported here because it loads TensorFlow

    bundle = Bundle.load(Path(model))
    training_set = bundle.about.get("config", {}).get("data")
    return bundle, bundle, bundle.training_photos, Path(training_set) if training_set else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    try:
        options = _parse(arguments)
        material = read_material(
            options.probes, options.strangers, options.pairs, options.pairs_root, options.no_face
        )
        groups = read_groups(options.groups) if options.groups else {}
        load_tensorflow()
        evaluation, training_set = _measure(options.model, material, options)
        compared: dict[str, Rate] = {}
        if options.against:
            compared = differences(evaluation, _measure(options.against, material, options)[0])
        by_group = measure_groups(evaluation, groups) if groups else []
        if options.report:
            # imported here because only reports need matplotlib
            from identity.evaluation.report import enrolled_photos, write_report

            shown = enrolled_photos(training_set) if training_set else {}
            print(write_report(evaluation, options.report, shown, _history(options.model)), file=sys.stderr)
            if options.model not in BARE_MODELS:
                remember_output(Path(options.model), options.report, "report")
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(_as_json(evaluation, compared, options.against, by_group)), flush=True)
    else:
        print(table(evaluation))
        if compared:
            print(difference_table(compared, options.against))
        if by_group:
            print(group_table(by_group, _TITLES))
    return 0


def _as_json(
    evaluation: Evaluation, compared: dict[str, Rate], against: str | None, by_group: list[GroupRates]
) -> dict[str, object]:
    """Return all results as plain values: the rates, the differences from another model, the rates of groups."""
    values: dict[str, object] = dict(evaluation.as_json())
    if compared:
        values["against"] = against
    for name, rate in compared.items():
        values[f"{name}_gain"] = round(rate.value, 6)
        values[f"{name}_gain_ci"] = [round(rate.low, 6), round(rate.high, 6)]
    if by_group:
        values["groups"] = [
            {
                "grouping": group.grouping,
                "group": group.group,
                "people": group.people,
                **{name: [rate.value, rate.low, rate.high] for name, rate in group.rates.items()},
            }
            for group in by_group
        ]
    return values


def _history(model: str) -> "RunHistory | None":
    """Return how a run was made, or None for bare features."""
    if model in BARE_MODELS:
        return None
    from identity.evaluation.report_figures import run_history
    from identity.runs.bundle import Bundle

    return run_history(Path(model), Bundle.load(Path(model)).sources["identity"].to_pylist())


def _measure(model: str, material: Material, options: argparse.Namespace) -> tuple[Evaluation, Path | None]:
    """Measure a model; return the rates and the folder of the set it was trained on, if known."""
    embedder, gallery, training, training_set = load_model(model)
    evaluation = evaluate(
        model,
        embedder,
        material,
        gallery=gallery,
        training=training,
        same_person=embedder.same_person if material.pairs else None,
        cache=options.cache or default_cache(model),
        workers=options.workers,
        progress=True,
    )
    return evaluation, training_set


if __name__ == "__main__":
    sys.exit(main())
