"""All providers of market data in one local server: one market behind them, each in its own shapes."""
