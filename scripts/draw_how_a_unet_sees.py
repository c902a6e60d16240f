"""Draw the pictures of docs/how-a-unet-sees.md from the variables of its own code.

    python scripts/draw_how_a_unet_sees.py docs/images

Needs matplotlib (the ``benchmark`` extra).
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[1] / "docs" / "how-a-unet-sees.md"

Namespace = dict[str, Any]


def run_page(page: Path = PAGE) -> Namespace:
    """Run the code blocks of a page from top to bottom; return their variables."""
    variables: Namespace = {"__name__": page.stem}
    text = page.read_text(encoding="utf-8")
    for block in re.finditer(r"```python\n(.*?)```", text, flags=re.DOTALL):
        line = text.count("\n", 0, block.start(1))
        source = "\n" * line + block[1]  # so that errors name the line of the page
        exec(compile(source, str(page), "exec"), variables)
    return variables


def _tiles(channels: Any, columns: int) -> Any:
    """Lay channels (c, h, w) side by side, each between 0 and 1."""
    import torch

    low, high = channels.amin((1, 2), True), channels.amax((1, 2), True)
    scaled = torch.nn.functional.pad((channels - low) / (high - low).clamp(min=1e-6), (1, 1, 1, 1))
    rows = [torch.cat(list(part), dim=1) for part in scaled.split(columns)]
    return torch.cat([row for row in rows if row.shape == rows[0].shape])


def _strongest(channels: Any) -> Any:
    """The channel (h, w) that varies most."""
    return channels[channels.std(dim=(1, 2)).argmax()]


Panel = tuple[str, Any, str]
"""Title, values (h, w), colour map."""


def _panels(v: Namespace) -> dict[str, Sequence[Panel]]:
    """What each picture shows; `v` has the page's variables."""
    image = v["image"]
    window = v["images"][0, 0]
    metastasis = v["probability"][0, 1]
    blind = v["blind"].softmax(dim=1)[0, 1]
    outline = [(f"variation {i + 1}", v["varied"][i, 0], "gray") for i in range(len(v["varied"]))]
    return {
        "question": [("slice", image, "gray"), ("outlined by a reader", v["truth"], "gray")],
        "convolution": [
            ("slice", image, "gray"),
            ("kernel", v["kernel"], "RdBu"),
            ("edges", v["edges"], "RdBu"),
        ],
        "padding": [
            ("valid", v["valid"][0, 0], "RdBu"),
            ("padded with zeros", v["padded"][0, 0], "RdBu"),
        ],
        "stride": [
            ("stride 1", v["padded"][0, 0], "RdBu"),
            ("stride 2", v["strided"][0, 0], "RdBu"),
        ],
        "relu": [("edges", v["edges"], "RdBu"), ("after ReLU", v["rectified"], "gray")],
        "pooling": [
            ("edges", v["rectified"], "gray"),
            ("pooled", v["pooled"], "gray"),
            ("pooled twice", v["twice"], "gray"),
        ],
        "channels": [("encoder 1, all channels", _tiles(v["channels"], 8), "gray")],
        "encoder": [
            ("slice", window, "gray"),
            *((f"{tuple(each.shape)}", _strongest(each), "gray") for each in v["levels"]),
        ],
        "upsampling": [
            ("bridge", _strongest(v["levels"][-1]), "gray"),
            ("copied", _strongest(v["copied"]), "gray"),
            ("learned stamps", _strongest(v["stamped"]), "gray"),
        ],
        "skips": [
            ("slice", window, "gray"),
            ("with skip connections", metastasis, "magma"),
            ("without", blind, "magma"),
        ],
        "softmax": [
            ("score of metastasis", v["scores"][0, 1], "RdBu"),
            ("probability", metastasis, "magma"),
            ("winner", v["predicted"], "gray"),
        ],
        "cross-entropy": [
            ("truth", v["drawn"], "gray"),
            ("probability", metastasis, "magma"),
            ("surprise", v["surprise"], "magma"),
        ],
        "augmentation": outline,
        "dropout": [
            ("bridge, 64 channels", _tiles(v["levels"][-1][:64], 16), "gray"),
            ("half switched off", _tiles(v["dropped"][:64], 16), "gray"),
        ],
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the page and draw its pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args(argv).folder
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    variables = run_page()

    def save(name: str, draw: Callable[[Any], None], columns: int, size: float) -> None:
        figure, axes = plt.subplots(
            1, columns, figsize=(size * columns, size * 1.25), squeeze=False
        )
        draw(axes[0])
        figure.tight_layout()
        figure.savefig(folder / f"sees-{name}.png", dpi=90)
        plt.close(figure)

    for name, panels in _panels(variables).items():

        def draw(axes: Any, panels: Sequence[Panel] = panels, name: str = name) -> None:
            for number, (axis, (title, values, colours)) in enumerate(
                zip(axes, panels, strict=True)
            ):
                values = values.detach().float().numpy()
                limit = abs(values).max() if colours == "RdBu" else None
                axis.imshow(values, cmap=colours, vmin=-limit if limit else None, vmax=limit)
                if name == "augmentation":
                    axis.contour(variables["varied_truth"][number] == 1, [0.5], colors="tab:red")
                axis.set_title(title, fontsize=9)
                axis.axis("off")

        save(name, draw, len(panels), 5.0 if len(panels) == 1 or name == "dropout" else 2.4)

    losses = [event.loss for event in variables["events"] if hasattr(event, "loss")]

    def curve(axes: Any) -> None:
        axes[0].plot(losses, color="tab:blue")
        axes[0].set_xlabel("step")
        axes[0].set_ylabel("loss")

    save("backpropagation", curve, 1, 3.6)
    return 0


if __name__ == "__main__":
    sys.exit(main())
