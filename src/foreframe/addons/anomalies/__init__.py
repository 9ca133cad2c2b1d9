"""Finds what is unusual in a recording, with a stated rate of false alarms.

Contributes the verb `anomalies` with the calls `foreframe.anomalies` and `foreframe.watch`.
"""

from foreframe.base.verbs import Verb

ANOMALIES = Verb(
    "find unusual events, with a bound on false alarms",
    "foreframe.addons.anomalies.anomaly_command",
    {
        "anomalies": "foreframe.addons.anomalies.anomaly_search:anomalies",
        "watch": "foreframe.addons.anomalies.anomaly_search:watch",
    },
)
