"""Make docs/_static/readme.png: conformers of alanine dipeptide, and learned ones."""

from pathlib import Path

import topogen as tg
from topogen.datasets import alanine
from topogen.report import write_picture

if __name__ == "__main__":
    result = tg.learn(alanine.conformers(), seed=0)
    print(result)
    write_picture(result, Path(__file__).parent / "_static" / "readme.png")
