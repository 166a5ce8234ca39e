"""Changes of the feedback store's tables, in their order. Run by `service.feedback.database` when a store is opened."""
