"""Map a function over items: results as they finish, failures as values."""
