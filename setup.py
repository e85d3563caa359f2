"""What pyproject.toml cannot say: config/ travels inside the package, as uniref_model/config."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["uniref_model", "uniref_model.*"]), "uniref_model.config"],
    package_dir={"uniref_model.config": "config"},
    package_data={"uniref_model": ["py.typed", "weights/**/*"], "uniref_model.config": ["**/*.yaml"]},
)
