"""What watches the service: Prometheus's rules and alerts, Grafana's dashboards, written as code and kept as files."""
