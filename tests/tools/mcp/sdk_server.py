"""A server as the SDK's own examples write it; run as a program it speaks over standard input and output."""

from __future__ import annotations

from mcp.server.mcpserver import Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, ResourceLink, TextContent, ToolAnnotations

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
)


def made(calls: list[str]) -> MCPServer:
    """Make it; what it is asked is noted in ``calls``."""
    server = MCPServer("sdk")

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        calls.append(f"add {a} {b}")
        return a + b

    @server.tool()
    def picture() -> Image:
        """Draw."""
        return Image(data=PNG, format="png")

    @server.tool()
    def bomb() -> Image:
        """Draw too much."""
        return Image(data=PNG[:16] + b"\x00\x00\xff\xff" * 2 + PNG[24:], format="png")

    @server.tool()
    def links() -> CallToolResult:
        """Point elsewhere."""
        link = ResourceLink(type="resource_link", name="x", uri="http://169.254.169.254/latest", mime_type="text/plain")
        return CallToolResult(content=[TextContent(type="text", text="see"), link])

    @server.tool()
    def broken() -> str:
        """Fail."""
        raise ToolError("no such order")

    return server


if __name__ == "__main__":
    made([]).run("stdio")
