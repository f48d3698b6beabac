"""What the Hugging Face hub reads of a model: the YAML at the head of its card."""

from __future__ import annotations

from huggingface_hub import EvalResult, ModelCardData

from pets.export.facts import Facts

TASK = "image-classification"
# Nobody chose one, and neither the weights' licence nor the photos' is the model's.
LICENCE, LICENCE_NAME = "other", "unknown"


def front_matter(facts: Facts) -> list[str]:
    """The lines, with the `---` around them."""
    name = facts.data["name"]
    results = [
        EvalResult(
            task_type=TASK,
            dataset_type=name,
            dataset_name=name,
            dataset_split=measured.split,
            metric_type="accuracy",
            metric_value=round(measured.accuracy, 4),
        )
        for measured in facts.measured
    ]
    values = ModelCardData(
        library_name="timm",
        pipeline_tag=TASK,
        license=LICENCE,
        license_name=LICENCE_NAME,
        tags=["timm", TASK],
        datasets=[name],
        model_name=f"{facts.trained.model.config.name}, trained on {name}",
        eval_results=results,
    )
    return ["---", values.to_yaml(), "---", ""]
