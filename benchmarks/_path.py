"""Puts the project's folders on the import path. The programs of this folder import it before the project's modules."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in ("", "data", "data/ntu", "data/nucla", "tools")]
