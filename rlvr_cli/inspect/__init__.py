"""What a finished model or run looks like inside, measured on the files it leaves."""
