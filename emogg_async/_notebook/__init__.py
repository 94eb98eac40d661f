"""Pictures and tables of models: pure functions from numbers and names to text.

`views` writes HTML for notebooks, `charts` draws with `svg` and `series`, and `markup`
escapes text.
"""

__all__ = ()
