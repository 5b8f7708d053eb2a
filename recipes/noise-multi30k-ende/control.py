"""What misspelt sources cost; see noises.py of noise-multi30k, which is the other direction.

    python recipes/noise-multi30k-ende/control.py RUNS DATA OUTPUT

RUNS is the folder of `nmt study`; DATA is not used.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "noise-multi30k"))

from noises import main

if __name__ == "__main__":
    main(Path(__file__).parent, Path(sys.argv[1]), Path(sys.argv[3]))
