"""The assets of the chain, one module for each part of the product.

Belongs here: keys, dependencies, and the words by which the lineage page explains the product. Does
not belong here: work on files; an asset names its stage and hands it to `mediapipe_assets.stages`.
"""
