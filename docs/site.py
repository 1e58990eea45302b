"""Makes the site: `python -m docs.site [FOLDER]`.

The pages are copied to FOLDER/pages, with the parts that are made from declarations (`docs.reference`). From there
Zensical makes FOLDER/site, without any address outside of it.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from docs import reference

ROOT = Path(__file__).parents[1]

FOLDER = ROOT / "target" / "docs"


def gather(pages: Path) -> None:
    """Copy all pages, and fill those that have markers."""
    shutil.rmtree(pages, ignore_errors=True)
    shutil.copytree(ROOT / "docs", pages, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for page in pages.rglob("*.md"):
        page.write_text(reference.fill(page.read_text()))


def build(folder: Path) -> Path:
    """Make the site in a folder, and return the folder of its files.

    A link between pages that leads nowhere, or a page that is missing, ends it with a `CalledProcessError`.
    """
    gather(folder / "pages")
    settings = folder / "mkdocs.yml"
    shutil.copy(ROOT / "mkdocs.yml", settings)
    shutil.rmtree(folder / "site", ignore_errors=True)
    command = ["zensical", "build", "--clean", "--strict", "--config-file", str(settings)]
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(command, cwd=folder, check=True, env={**os.environ, "PATH": beside})
    return folder / "site"


if __name__ == "__main__":
    made = build(Path(sys.argv[1]) if sys.argv[1:] else FOLDER)
    print(f"the site is in {made}: open {made / 'index.html'}")
