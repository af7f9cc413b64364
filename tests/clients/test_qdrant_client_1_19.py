#!/usr/bin/env python3
"""qdrant-client 1.19, whose API nigh speaks, through the same program: nigh-test: environment=venv-1.19 server=yes"""

import os
import runpy
from importlib.metadata import version

# Uploading in parallel starts processes that read this file again.
if __name__ == "__main__":
    assert version("qdrant-client").startswith("1.19."), version("qdrant-client")
    runpy.run_path(os.path.join(os.path.dirname(os.path.abspath(__file__)), "test_qdrant_client.py"), run_name="__main__")
