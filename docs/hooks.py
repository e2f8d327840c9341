"""Builds what the site shows from elsewhere: the model zoo from the weights, the changelog, files of the repository."""

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from oamface.export.model_card import model_card
from oamface.predictor import Predictor
from oamface.zoo import Figure, ModelInfo, list_models

ROOT = Path(__file__).parents[1]
OUTSIDE = re.compile(r"\]\(\.\./([^)#\s]+)")  # a link from a page to a file beside docs/
CARD = re.compile(r"src/oamface/weights/([\w-]+)\.md")
PLACE = "<!-- models -->"
COLUMNS = {
    "utkface/age/mae": "age error in years, UTKFace",
    "fairface/gender/accuracy": "gender, FairFace",
    "fairface/race/accuracy": "race of seven, FairFace",
    "masks/mask/accuracy": "mask or none",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds one page for each model card, the changelog, and the files that pages link to."""
    for model in list_models():
        card = model_card(Predictor(model.name, device="cpu").description)
        card = card.replace("# Model card", f"# {model.name}: model card", 1)
        files.append(File.generated(config, f"models/{model.name}.md", content=card))
    files.append(File.generated(config, "changelog.md", content=(ROOT / "CHANGELOG.md").read_text()))
    pages = [file.content_string for file in files if file.src_uri.endswith(".md")]
    for name in sorted({name for page in pages for name in OUTSIDE.findall(page)}):
        if _is_copied(name):
            files.append(File.generated(config, f"files/{name}", abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page with links that hold in the site, and the table of models in its place."""
    markdown = re.sub(r"\[([^\]]+)\]\(\.\./([\w./-]+)\)", _link, markdown)
    markdown = markdown.replace("(report/README.md)", "(report/index.html)")
    return markdown.replace(PLACE, _table(list_models())) if PLACE in markdown else markdown


def _link(match: re.Match[str]) -> str:
    text, name = match.groups()
    if card := CARD.fullmatch(name):
        return f"[{text}](models/{card.group(1)}.md)"
    return f"[{text}](files/{name})" if _is_copied(name) else f"`{name}`"


def _is_copied(name: str) -> bool:
    """Whether a file of the repository becomes part of the site; not folders, and not documents with links."""
    return (ROOT / name).is_file() and not name.endswith(".md")


def _table(models: list[ModelInfo]) -> str:
    head = ["model", "MB", "weights", "licence of the training data", *COLUMNS.values()]
    rows = [
        [
            f"[`{model.name}`](models/{model.name}.md)",
            f"{model.size / 1e6:.1f}",
            model.precision,
            model.licence,
            *(_cell(model.figures[name], years=name.endswith("mae")) for name in COLUMNS),
        ]
        for model in models
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def _cell(figure: Figure, *, years: bool) -> str:
    if years:
        return f"{figure.value:.2f} ({figure.low:.2f} to {figure.high:.2f})"
    return f"{figure.value:.1%} ({figure.low:.1%} to {figure.high:.1%})"
