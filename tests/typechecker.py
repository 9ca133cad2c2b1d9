"""The type checker that the import hook in conftest.py applies to every function of foreframe."""

from beartype import BeartypeConf, beartype

# An int is welcome where a float is asked for.
checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
