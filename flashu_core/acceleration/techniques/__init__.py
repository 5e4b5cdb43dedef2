"""One file for each technique: a frozen dataclass of parameters that changes plans. Source: arXiv 2603.15271."""
