"""What a request may hold: the fields of each route with their types, and what is said of those that we do not do."""
