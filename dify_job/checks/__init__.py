"""What could stop the next run, looked at without starting one; sees both wings and prints nothing."""
