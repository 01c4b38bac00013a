"""The paper's experiments; each main.py is a command."""

import importlib.util
import sys

if _missing := [x for x in ("absl", "matplotlib", "tqdm") if importlib.util.find_spec(x) is None]:
    # Not an exception: someone who starts a command has no use for a traceback.
    sys.exit(
        f"error: the experiments need {', '.join(_missing)}; install them in the clone with "
        "`pip install -c constraints.txt -e '.[experiments]'`."
    )
