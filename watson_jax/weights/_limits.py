"""Upper bounds of files of parameters: far above any that is meant, far below what fills a memory."""

MAX_FILE = 600 * 2**20
"""Bytes of a PyTorch file; VGG16's, the largest, has 553 million."""

MAX_ARRAYS = 300 * 2**20
"""Bytes of all arrays that are read from one file; VGG16 without its classifier has 59 million."""

MAX_MEMBERS = 4096
"""Members of a zip archive, one for each array."""

MAX_DEPTH = 8
"""Dictionaries within dictionaries."""
