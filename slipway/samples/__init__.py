"""Data that models are run on: `arrays` (named samples), `golden` (recorded runs), `fitting`.

No model is run here.
"""
