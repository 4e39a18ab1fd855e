"""Why a model gives its answer, and how far the explanation can be trusted."""
