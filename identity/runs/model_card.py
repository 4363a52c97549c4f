"""The model card of a trained run: what it does, how it was made, and what it must not be used for."""

from identity.runs.bundle import Bundle

_LIMITS = """## Limits and terms

- It names people from photos. Use it only on people who agreed to it; biometric data is protected by law in many
  places (in the EU: GDPR, article 9, and the AI Act). No decision about a person should rest on it alone.
- Accuracy differs between groups of people, as does that of the models it builds on. Measure it on your own.
- Thresholds hold for photos like those it was calibrated on.
- Landmarks come from dlib's 68-point predictor, trained on 300-W, whose licence excludes commercial use. dlib's face
  embedding is in the public domain. The card of the face weights lies beside them in the package.
"""


def model_card(bundle: Bundle) -> str:
    """Return the card of a run, which is complete but for the card, as Markdown."""
    record = bundle.training
    shares = ", ".join(f"{name} {share:.3f}" for name, share in bundle.shares.items() if share > 0)
    calibration = bundle.decision.calibration
    lines = [
        "# Model card",
        "",
        f"Names {len(bundle.labels)} people from face chips of {bundle.size} pixels; says unknown to others."
        if bundle.align == "face"
        else f"Names {len(bundle.labels)} classes of whole photos; says other to photos of none of them.",
        "",
        "## How it was made",
        "",
        f"- {record.images} images of {record.photos} photos of {record.people} people",
        f"- features `{bundle.features}`: {shares} (shares of the cosine, {record.chosen_by})",
        f"- weight of renders in templates: {record.render_weight}",
    ]
    if bundle.backbone:
        lines.append(
            f"- backbone: EfficientNet-B0, weights `{bundle.backbone.weights}`, {bundle.backbone.digest[:12]}"
        )
    if bundle.head:
        lines.append(
            f"- head `{bundle.head.kind}`, {record.epochs} epochs; the epoch kept names "
            f"{_rate(record.held_out_rank1)} of {record.held_out} held-out photos rightly"
        )
    lines += [
        f"- seed {record.seed}, commit {record.commit or 'unknown'}",
        "",
        "## Calibration",
        "",
        f"- {calibration['mated']:.0f} photos that their templates lack, {calibration['strangers']:.0f} strangers "
        f"({record.strangers_from})",
        f"- named rightly at FPIR 1 %: {_rate(calibration['tpir_fpir_1'])}, "
        f"at 10 %: {_rate(calibration['tpir_fpir_10'])} (on calibration people: optimistic; "
        "measure with identity.evaluate)",
        f"- thresholds of the acceptance score: {bundle.thresholds['fpir_1']:.4f} (FPIR 1 %), "
        f"{bundle.thresholds['fpir_10']:.4f} (10 %)",
        "",
        _LIMITS,
    ]
    return "\n".join(lines)


def _rate(value: float | None) -> str:
    """Return a rate in per cent, or "none" where nothing was measured."""
    return "none" if value is None or value != value else f"{100 * value:.1f} %"
