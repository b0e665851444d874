"""What every room knows, and what knows no room: types, errors, files, signs of life, collectives."""
