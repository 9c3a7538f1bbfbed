"""The benchmark: securechat's server beside others, in one run and in turn (``scripts/bench``)."""
