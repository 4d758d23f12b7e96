"""Ships the repository's models.yaml inside the bench package; everything else is in pyproject.toml."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithZoo(build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            self.copy_file("models.yaml", str(Path(self.build_lib, "bench", "models.yaml")))


setup(cmdclass={"build_py": BuildWithZoo})
