"""MCP: tools of servers that speak the Model Context Protocol, each connected when it is first needed."""
