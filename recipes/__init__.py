"""Complete runs: plain functions that return what `leadline train` takes. `python -m recipes.fastdepth --help`."""
