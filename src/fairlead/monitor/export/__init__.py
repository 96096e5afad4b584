"""What other watchers load: rules for Prometheus, a dashboard for Grafana."""
