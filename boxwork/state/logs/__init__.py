"""Where entries become durable: implementations of `boxwork.state.log.Log`."""
