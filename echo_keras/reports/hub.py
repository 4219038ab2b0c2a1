"""A folder for the Hugging Face Hub: the model, its card and its report."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from echo_keras._files import replacing
from echo_keras.layers import arguments
from echo_keras.plots._figure import Path, Points
from echo_keras.studies.curve import RateDistortionCurve

from .facts import Facts, gather, rows_of_measures
from .page import page

MODEL, CARD, REPORT = "model.keras", "README.md", "report.html"


def write_for_hub(
    model: keras.Model,
    x_train: Any,
    x_test: Any,
    folder: Path,
    *,
    y_train: Any = None,
    y_test: Any = None,
    title: str | None = None,
    description: str | None = None,
    license: str | None = None,
    dataset: str | None = None,
    tags: Sequence[str] = (),
    points: Mapping[str, Points] | RateDistortionCurve | None = None,
    history: Any = None,
    date: str | None = None,
    examples: int = 1000,
    batch_size: int | None = None,
    seed: int = 0,
) -> pathlib.Path:
    """Writes a model and what there is to know of it into a folder.

    - `model.keras`: the model, which `keras.models.load_model` reads,
    - `README.md`: a model card: metadata in YAML, what the model is, its rate,
      distortion and -ELBO, the findings of `audit`, how it is loaded,
    - `report.html`: see `report`.

    Args:
        model, x_train, x_test, y_train, y_test, title, description, points, history,
            date, examples, batch_size, seed: See `report`.
        folder: The folder, made if need be; files of these names are overwritten.
        license: Identifier of the licence, such as "apache-2.0", or None.
        dataset: Name of the data set, or None.
        tags: Texts, besides those of the library.

    Returns:
        The folder's path.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> import tempfile
    >>> import numpy as np
    >>> from echo_keras import losses, objectives
    >>> model = objectives.vae(encoder, decoder, 2)
    >>> model.compile(loss=losses.Bernoulli())
    >>> x = np.random.RandomState(0).randint(0, 2, (60, 8)).astype("float32")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sorted(path.name for path in write_for_hub(model, x, x, folder).iterdir())
    ['README.md', 'model.keras', 'report.html']
    """
    folder = arguments.path("folder", folder, folder=True)
    tags = arguments.texts("tags", tags) if tags else []
    arguments.text("license", license, optional=True)
    arguments.text("dataset", dataset, optional=True)
    facts = gather(
        model,
        x_train,
        x_test,
        y_train,
        y_test,
        title,
        description,
        points,
        history,
        date,
        examples,
        batch_size,
        seed,
    )
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / MODEL)
    for name, text in (
        (CARD, card(facts, license, dataset, tags)),
        (REPORT, page(facts)),
    ):
        with replacing(folder / name) as part:
            part.write_text(text, encoding="utf-8")
    return folder


def push_to_hub(
    folder: Path, repo_id: str, *, private: bool = False, message: str | None = None
) -> str:
    """Uploads a folder of `write_for_hub` to a repository of the Hugging Face Hub.

    Needs `pip install 'echo-keras[hub]'`, and a login (`hf auth login`). A repository
    that does not exist is made.

    Args:
        folder: What `write_for_hub` returned.
        repo_id: "owner/name".
        private: If True, a repository that is made is nobody else's to see.
        message: Of the commit, or None.

    Returns:
        The address of the commit.

    Raises:
        ValueError: an argument is not as above, or the folder lacks a file.
        ImportError: huggingface_hub is missing.

    Example:

        folder = write_for_hub(model, x_train, x_test, "echo-digits")
        push_to_hub(folder, "me/echo-digits")
    """
    folder = arguments.path("folder", folder, folder=True)
    private = arguments.flag("private", private)
    message = arguments.text("message", message, optional=True)
    parts = arguments.text("repo_id", repo_id).split("/")
    if len(parts) != 2 or not all(parts):
        raise ValueError(f"repo_id must be 'owner/name'. Received: repo_id={repo_id!r}")
    for name in (MODEL, CARD, REPORT):
        if not (folder / name).is_file():
            raise ValueError(
                f"folder must hold {MODEL}, {CARD} and {REPORT}. Received: {folder} "
                f"without {name}. Write it with write_for_hub."
            )
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError(
            "Uploading needs huggingface_hub: pip install 'echo-keras[hub]'"
        ) from error
    hub = huggingface_hub.HfApi()
    hub.create_repo(repo_id, private=private, exist_ok=True)
    commit = hub.upload_folder(
        repo_id=repo_id,
        folder_path=folder,
        allow_patterns=[MODEL, CARD, REPORT],
        commit_message=message or "Model, card and report",
    )
    return str(commit)


def card(
    facts: Facts, license: str | None, dataset: str | None, tags: Sequence[str]
) -> str:
    """A model card in Markdown, with YAML metadata."""
    name = _line(facts.title)
    metrics = [
        {"name": key, "type": key, "value": round(value, 4)}
        for key, value in facts.measures.get("test", {}).items()
        if not key.endswith("_se")
    ]
    metadata: dict[str, Any] = {"library_name": "keras"}
    if license:
        metadata["license"] = license
    if dataset:
        metadata["datasets"] = [dataset]
    known = ["echo_keras", "keras", "autoencoder", "rate-distortion"]
    metadata["tags"] = list(dict.fromkeys([*known, *tags]))
    if metrics and dataset:
        result = {
            "task": {"type": "feature-extraction"},
            "dataset": {"name": dataset, "type": dataset, "split": "test"},
            "metrics": metrics,
        }
        metadata["model-index"] = [{"name": facts.title, "results": [result]}]
    # Each value as JSON, which YAML contains.
    lines = [f"{key}: {json.dumps(value)}" for key, value in metadata.items()]
    rows = [f"| {' | '.join(row)} |" for row in rows_of_measures(facts)]
    findings = [
        f"- **{f.severity}: {f.name}.** {_line(f.evidence)} {_line(f.remedy)}"
        for f in facts.audit
    ]
    parts = [
        "---",
        *lines,
        "---",
        f"# {name}",
        "",
        *([_line(facts.description), ""] if facts.description else []),
        f"An autoencoder whose rate and distortion are measured, {facts.date}. Its "
        f"[report]({REPORT}) has figures, and how it was made.",
        "",
        "## Numbers",
        "",
    ]
    if rows:
        parts += [
            "| data | measure | nats | bits |",
            "| --- | --- | --- | --- |",
            *rows,
        ]
    else:
        parts.append(f"Not measured: {_line(facts.unmeasured)}")
    parts += [
        "",
        "Means over examples ± their standard errors.",
        "",
        "## Audit",
        "",
        *(findings or ["Nothing found."]),
        "",
        f"Not found: {', '.join(facts.audit.clean) or 'nothing'}.",
        "",
        "## Use",
        "",
        "```python",
        "import keras",
        "import echo_keras  # so that Keras knows its layers",
        "",
        f'model = keras.models.load_model("{MODEL}")',
        "```",
        "",
        "## The model",
        "",
        *(f"- {key}: {_line(value)}" for key, value in facts.model),
        "",
        "## How it was made",
        "",
        *(f"- {key}: `{value}`" for key, value in facts.made),
    ]
    return "\n".join(parts) + "\n"


def _line(text: str) -> str:
    """A text as one line of Markdown that is read as it is written."""
    text = " ".join(str(text).split())
    for mark in "\\`*_<>[]|#":
        text = text.replace(mark, f"\\{mark}")
    return text
