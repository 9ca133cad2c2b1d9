"""Small networks of the add-on: they join the lists of tests/small.py."""

from typing import Any

from small import AT_ONCE, convlstm, strided, way

PRESETS: dict[str, dict[str, Any]] = {}

WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "radar": way(
        "guided",
        core=convlstm(3),
        codec=strided(3, 5),
        output={
            "mixture": {
                "guides": [{"dense_motion": {"pairs": 2, "smooth": 2.0}}, "persistence"],
                "blurs": [1.0, 2.0],
            }
        },
    ),
    "perturbed": way("perturbed", of={"at_once": AT_ONCE}),
    "perturbed_of_any_channels": way("perturbed", of="linear_motion"),
}

TWINS: set[str] = set()

GUIDE = {"dense_motion": {"pairs": 2, "smooth": 2.0}}
RECORDED: dict[str, dict[str, Any]] = {"radar": {"frame": (12, 12), "steps": 12, "guide": GUIDE}}
