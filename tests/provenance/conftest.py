import sys
from pathlib import Path

# pytest's importlib mode leaves the folder off the path; the tests here share marked_pngs.py
sys.path.insert(0, str(Path(__file__).parent))
