"""Quality of answers in production: measured from labels that come late, or estimated without them."""
