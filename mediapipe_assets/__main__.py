"""`python -m mediapipe_assets`: the command line, wherever its script was installed.

Belongs here: nothing more.
"""

from mediapipe_assets.cli import main

if __name__ == "__main__":
    main()
