"""What there is: every key, option, entry and metric, from the schema, the files and the pages."""
