"""The one REST caller: coordinated in Redis, so that all processes and hosts together keep to one budget."""
