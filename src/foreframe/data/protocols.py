"""How datasets of the field are read and cut into windows where papers compare on them: values of
`DataOptions` by the dataset's name. Their sources are in the docstrings of `data/published.py`. And
the windows of a paper that are asked for by its name, of any films: those of DMVFN (Hu et al. 2023,
CVPR).

Plain values, without torch: the command line looks here too.
"""

from collections.abc import Mapping
from typing import Any

PROTOCOLS: dict[str, dict[str, Any]] = {
    "kth": {"past": 10, "future": 20, "reading": {"size": [128, 128], "colour": "grey"}},
    "human36m": {"past": 4, "future": 4, "reading": {"size": [256, 256], "colour": "rgb"}},
    "kitti_caltech": {"past": 10, "future": 1, "reading": {"size": [128, 160], "colour": "rgb"}},
    "taxibj": {"past": 4, "future": 4, "scaling": "minmax"},
    "weatherbench": {"past": 12, "future": 12, "scaling": "standard"},
    "sevir": {"past": 13, "future": 12, "stride": 12, "reading": {"missing": None}},
    "dmvfn": {"past": 2, "future": 5, "stride": 1},
}


def protocol_of(data: Any) -> Mapping[str, Any]:
    """The options of a dataset or paper that is named; none of other data."""
    return PROTOCOLS.get(data, {}) if isinstance(data, str) else {}


def as_published(given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of `DataOptions` as a user gives them, the others as published where `data` is a name
    that has a protocol.
    """
    protocol = protocol_of(given.get("data"))
    reading = {**protocol.get("reading", {}), **(given.get("reading") or {})}
    return {**protocol, **given, **({"reading": reading} if reading else {})}
