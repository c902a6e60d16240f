"""Check that napari sees the installed plugin and that every command of it imports.

Run in the environment that napari runs in; exits non-zero with the list of what is wrong.
"""

from __future__ import annotations

import sys
from pathlib import Path

from npe2 import PluginManager, PluginManifest
from npe2.manifest.utils import import_python_name

NAME = "napari-unet-mri"


def problems() -> list[str]:
    """What is wrong with the manifest, one sentence each."""
    found = []
    link = Path(__file__).parents[1] / "napari.yaml"
    packaged = link.parent / "src" / "napari_unet" / "napari.yaml"
    # git on Windows may check a link out as a small text file.
    if sys.platform != "win32" and link.resolve() != packaged.resolve():
        found.append("napari.yaml at the top is not a link to src/napari_unet/napari.yaml.")
    manager = PluginManager()
    manager.discover()
    if NAME not in manager:
        return [*found, f"napari does not see {NAME}: its manifest entry point is missing."]
    manifest: PluginManifest = manager.get_manifest(NAME)
    commands = manifest.contributions.commands or []
    for command in commands:
        try:
            import_python_name(command.python_name)
        except Exception as error:
            found.append(f"{command.id} ({command.python_name}) does not import: {error!r}")
    if not commands:
        found.append("The manifest has no commands.")
    if not manifest.contributions.widgets:
        found.append("The manifest has no widget, so the Plugins menu would be empty.")
    return found


def main() -> int:
    """Print the problems; 0 if there are none."""
    found = problems()
    sys.stdout.write("\n".join(found or ["Every command of the manifest imports."]) + "\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
