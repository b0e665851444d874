"""Problems and examples: sources, layouts, templates, the order they come in, synthetic families."""
