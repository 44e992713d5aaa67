"""Draw docs/pareto.svg from the table of size and accuracy in docs/benchmarks.md.

python tests/bench/pareto_plot.py
"""

from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams |= {"svg.hashsalt": "keras_plm", "font.size": 9}

import matplotlib.pyplot as plt  # noqa: E402

DOCS = Path(__file__).parents[2] / "docs"
HEADING = "## Size and accuracy"


MARKERS = {
    "MiniLM": "o",
    "trimmed vocabulary": "s",
    "quantization-aware": "^",
    "2:4 sparsity": "D",
    "2:4, trimmed": "v",
}
COLORS = {"float16": "C7", "dynamic_int8": "C0", "static_int8": "C2", "int4_block32": "C1", "int4": "C3"}
FLOAT32, STANDARD_ERROR = 88.52, 0.7


def points() -> list[tuple[str, str, float, float]]:
    """Model, scheme, MB gzipped and accuracy of each row of the table."""
    section = (DOCS / "benchmarks.md").read_text("utf-8").split(HEADING)[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    return [(name, scheme, float(size), float(score)) for name, scheme, _, size, score in rows[2:]]


def main() -> None:
    """Write the plot."""
    figure, axes = plt.subplots(figsize=(6.8, 3.4), layout="constrained")
    axes.axhspan(FLOAT32 - STANDARD_ERROR, FLOAT32 + STANDARD_ERROR, color="0.92", zorder=0)
    axes.axhline(FLOAT32, color="0.5", linewidth=1, linestyle="--", zorder=1)
    axes.annotate("Keras float32, 90 MB, and a standard error", (61, FLOAT32 + 0.1), ha="right", color="0.4")
    for name, scheme, size, score in points():
        axes.plot(size, score, MARKERS[name], color=COLORS[scheme], markersize=6, label=f"{name}, {scheme}")
    axes.set(xlabel="MB, gzipped as an app store does", ylabel="accuracy on sst2, %", xscale="log", ylim=(86, 90))
    axes.set_xticks([8, 10, 15, 20, 30, 40, 60], ["8", "10", "15", "20", "30", "40", "60"])
    axes.set_xticks([], minor=True)
    axes.set_xlim(8, 63)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    figure.savefig(DOCS / "pareto.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
