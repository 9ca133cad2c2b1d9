"""Add-ons: each uses only public names of the core, which finds it by entry points alone. Deleting
a folder here, its tests and its entry points in pyproject.toml removes an add-on.
"""
