"""What this project's training costs, each figure as a ratio to a baseline of the same run (`candor bench train`)."""
