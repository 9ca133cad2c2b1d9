"""Forecasts over HTTP, and a page to try them, which is also an export format.

Contributes the verb `serve` and the format `page` of `export`.
"""

from foreframe.base.verbs import Verb

SERVE = Verb("serve forecasts over HTTP, with a page to try them", "foreframe.addons.serve.server")
