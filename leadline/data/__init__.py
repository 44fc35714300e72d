"""Data: depth maps on disk, the layouts people have, and a check that names a data set's faults. Loads no torch.

It imports nothing: options are read by the command line before torch is.
"""
