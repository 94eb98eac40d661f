"""What people see of models: pure functions from numbers and names to text.

`views` makes HTML for notebooks, `charts` draws with `svg` and `series`, and `markup`
escapes.
"""

__all__ = ()
