"""What misspelt sources cost; see noises.py.

    python recipes/noise-multi30k/control.py RUNS DATA OUTPUT

RUNS is the folder of `nmt study`; DATA is not used.
"""

import sys
from pathlib import Path

from noises import main

if __name__ == "__main__":
    main(Path(__file__).parent, Path(sys.argv[1]), Path(sys.argv[3]))
