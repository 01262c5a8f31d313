//! AuthZEN over the dashboard's own bundle: people of the directory, routes, accounts; what a request may not say.
