"""What pyproject.toml cannot say: config/ and msg/ travel inside the package, as uniref_model/config and
uniref_model/msg; and the laboratory stays in the checkout, where `pip install -e` finds it."""

from setuptools import find_packages, setup

LABORATORY = ("datasets", "evaluation", "export", "synth", "training")  # CMakeLists.txt leaves them out too

setup(
    packages=[
        *find_packages(
            include=["uniref_model", "uniref_model.*"],
            exclude=[f"uniref_model.{room}{rest}" for room in LABORATORY for rest in ("", ".*")],
        ),
        "uniref_model.config",
        "uniref_model.msg",
    ],
    package_dir={"uniref_model.config": "config", "uniref_model.msg": "msg"},
    package_data={
        "uniref_model": ["py.typed", "weights/**/*"],
        "uniref_model.config": ["**/*.yaml"],
        "uniref_model.msg": ["*.msg"],
    },
)
