"""Few-shot prompt tuning: data and base/new splits, regularisers, the one training loop, evaluation and reports."""
