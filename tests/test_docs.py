"""What the documents say is what the code does."""

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLACEHOLDERS = {"kgan/commands/NAME.py", "tests/cli/test_NAME.py"}


def test_the_page_of_settings_is_that_of_the_code():
    spec = importlib.util.spec_from_file_location("flags", ROOT / "docs/flags.py")
    flags = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(flags)
    assert flags.PAGE.read_text("utf-8") == flags.page(), "run `make docs`"


def test_files_that_the_documents_name_exist():
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        text = page.read_text("utf-8")
        for name in set(re.findall(r"`((?:kgan|tests|docs|experiments|examples)/[\w./-]+\.\w+)`", text)) - PLACEHOLDERS:
            assert (ROOT / name).exists(), f"{page.name} names {name}"
        for name in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (page.parent / name).exists(), f"{page.name} links to {name}"
