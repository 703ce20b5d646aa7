"""The decorator, what a tool declares, and the facts of a call."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import pointsman.tools
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, InjectedToolCallId, StructuredTool
from langchain_core.tools import tool as langchain_tool
from pointsman.configs.errors import ConfigError, PointsmanError
from pointsman.configs.words import Effect
from pointsman.tools import Declaration, ToolFailed, call_facts, declaration_of, declare, effect_of, tool
from pointsman.tools.base import only_reads
from pydantic import BaseModel, ValidationError
from pydantic import Field as PydanticField


@tool(effect="read", target="order_id")
def order_status(order_id: str, days: int = 3) -> str:
    """Look up an order.

    Args:
        order_id: The order's number.
        days: How far back to look.
    """
    if order_id == "unknown":
        raise ToolFailed("there is no such order")
    if order_id == "broken":
        raise RuntimeError("the database is gone")
    return f"{order_id} shipped, {days} days"


@tool(effect="external", reversible=True)
async def send_note(text: str) -> str:
    """Send a note."""
    if not text:
        raise ToolFailed("the note is empty")
    return f"sent {text}"


def _by_dry_run(arguments: Mapping[str, Any]) -> str:
    return "read" if arguments["dry_run"] else "destructive"


@tool(effect=_by_dry_run, target="table")
def prune(table: str, dry_run: bool = True) -> str:
    """Delete old rows."""
    return f"{table} {'would be' if dry_run else 'was'} pruned"


def _called(made: BaseTool, **arguments: Any) -> ToolMessage:
    message = made.invoke({"type": "tool_call", "id": "1", "name": made.name, "args": arguments})
    assert isinstance(message, ToolMessage)
    return message


def test_a_decorated_function_is_a_langchain_tool_with_its_arguments_described() -> None:
    assert isinstance(order_status, StructuredTool)
    assert order_status.name == "order_status"
    assert order_status.description == "Look up an order."
    assert order_status.args["order_id"]["description"] == "The order's number."
    assert order_status.invoke({"order_id": "A1", "days": "7"}) == "A1 shipped, 7 days"


def test_arguments_that_do_not_validate_never_reach_the_function() -> None:
    with pytest.raises(ValidationError):
        order_status.invoke({"order_id": "A1", "days": "many"})


def test_tool_failed_is_told_to_the_model_as_an_error() -> None:
    message = _called(order_status, order_id="unknown")
    assert (message.status, message.content) == ("error", "there is no such order")


def test_any_other_exception_propagates() -> None:
    with pytest.raises(RuntimeError, match="database is gone"):
        order_status.invoke({"order_id": "broken"})


async def test_an_async_function_works_awaited_and_fails_as_told() -> None:
    assert await send_note.ainvoke({"text": "hi"}) == "sent hi"
    message = await send_note.ainvoke({"type": "tool_call", "id": "1", "name": "send_note", "args": {"text": ""}})
    assert (message.status, message.content) == ("error", "the note is empty")


def test_an_async_function_also_works_with_invoke() -> None:
    assert send_note.invoke({"text": "hi"}) == "sent hi"
    assert _called(send_note, text="").status == "error"


@pytest.mark.parametrize("effect", list(Effect))
def test_each_effect_can_be_declared_by_name_or_by_member(effect: Effect) -> None:
    for given_as in (effect, effect.value):
        assert effect_of(tool(lambda: "", name="t", description="d", effect=given_as)) is effect


def test_a_wrong_effect_names_the_choices_and_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'raed'.*read, write, external, destructive; did you mean 'read'"):
        tool(lambda: "", name="t", description="d", effect="raed")  # type: ignore[call-overload]


@pytest.mark.parametrize("given", [print, None, "read_file"])
def test_what_is_no_tool_can_declare_nothing(given: Any) -> None:
    with pytest.raises(ConfigError, match="is not a LangChain tool: a function becomes one by @tool"):
        declare(given, effect="read")


def test_a_target_that_is_no_argument_is_refused() -> None:
    with pytest.raises(ConfigError, match="no argument 'order' to name its target; it has order_id, days"):
        declare(order_status, effect="read", target="order")


def test_a_tool_without_a_docstring_is_refused() -> None:
    def silent() -> str:
        return ""

    with pytest.raises(ConfigError, match="'silent' needs a docstring"):
        tool(silent, effect="read")


def test_tool_failed_belongs_to_the_family() -> None:
    assert issubclass(ToolFailed, PointsmanError)


def test_the_declaration_survives_copies_and_bindings() -> None:
    for copied in (
        order_status.model_copy(),
        order_status.model_copy(deep=True),
        order_status.model_copy(update={"name": "renamed"}),
        copy.deepcopy(order_status),
        order_status.bind(tags=["x"]),
        order_status.with_config(tags=["x"]).bind(),
        order_status.with_retry(),
    ):
        assert effect_of(copied) is Effect.READ
        assert call_facts(copied, {"order_id": "A1"}).target == "A1"


def test_a_declared_tool_can_be_dumped_as_json_for_a_trace() -> None:
    declared = '"pointsman":{"effect":"destructive","target_args":["table"],"reversible":false,"only_reads":false,'
    assert declared in prune.model_dump_json()


def test_declare_leaves_the_tool_it_was_given_as_it_was() -> None:
    @langchain_tool
    def plain(x: int) -> int:
        """Double a number."""
        return 2 * x

    declared = declare(plain, effect="read", reversible=True)
    assert (effect_of(plain), effect_of(declared)) == (Effect.DESTRUCTIVE, Effect.READ)
    assert declared.invoke({"x": 2}) == 4


class Answer(BaseModel):
    """The answer."""

    text: str


class ActsByItself(StructuredTool):
    def _run(self, *args: Any, **kwargs: Any) -> str:
        return "acted"


def test_what_declares_nothing_counts_as_destructive() -> None:
    @langchain_tool
    def plain(x: int) -> int:
        """Double a number."""
        return 2 * x

    openai = {"type": "function", "function": {"name": "f", "parameters": {}}}
    for undeclared in (plain, openai, Answer, ActsByItself(name="a", args_schema=Answer), print):
        assert effect_of(undeclared) is Effect.DESTRUCTIVE
    assert call_facts(openai, {}).tool == "f"
    assert call_facts({"name": "g"}, {}).tool == "g"
    assert call_facts(Answer, {"text": "x"}).tool == "Answer"


def test_an_output_schema_cannot_act() -> None:
    schema = StructuredTool(name="Answer", description="d", args_schema=Answer)
    assert effect_of(schema) is None
    assert call_facts(schema, {"text": "x"}).effect is None


def test_metadata_of_the_same_shape_declares_nothing() -> None:
    forged = order_status.model_copy(update={"metadata": {"pointsman": {"effect": "read", "reversible": True}}})
    assert declaration_of(forged) is None
    assert effect_of(forged) is Effect.DESTRUCTIVE


def test_a_rule_judges_each_call_and_the_tool_counts_as_its_worst() -> None:
    assert effect_of(prune) is Effect.DESTRUCTIVE
    assert call_facts(prune, {"table": "logs"}).effect is Effect.READ
    facts = call_facts(prune, {"table": "logs", "dry_run": False})
    assert (facts.tool, facts.effect, facts.target, facts.reversible) == ("prune", Effect.DESTRUCTIVE, "logs", False)


def test_a_rule_sees_what_the_function_will_get_not_what_the_model_wrote() -> None:
    asked = {"table": "logs", "dry_run": "false"}
    assert _by_dry_run(asked) == "read"  # the string is truthy
    assert prune.invoke(asked) == "logs was pruned"
    assert call_facts(prune, asked).effect is Effect.DESTRUCTIVE


def test_a_rule_sees_what_validators_of_a_schema_make_of_the_arguments() -> None:
    class Query(BaseModel):
        path: Annotated[str, PydanticField(min_length=1)]

        def model_post_init(self, context: object) -> None:
            self.path = self.path.strip()

    made = StructuredTool.from_function(lambda path: path, name="q", description="d", args_schema=Query)
    judged = declare(made, effect=lambda arguments: "read" if arguments["path"] == "safe" else "write")
    assert call_facts(judged, {"path": " safe "}).effect is Effect.READ


def test_a_rule_works_beside_injected_arguments() -> None:
    def note(text: str, call: Annotated[str, InjectedToolCallId]) -> str:
        """Note a text."""
        return f"{call}: {text}"

    made = tool(note, effect=lambda arguments: "read" if arguments == {"text": "x"} else "write")
    assert _called(made, text="x").content == "1: x"
    assert call_facts(made, {"text": "x"}).effect is Effect.READ


def test_a_rule_that_fails_or_answers_nonsense_lowers_nothing() -> None:
    def judge(arguments: Mapping[str, Any]) -> str:
        return {"days": "read"}[arguments["order_id"]]

    broken = declare(order_status, effect=judge)
    nonsense = declare(order_status, effect=lambda arguments: "harmless")
    assert call_facts(broken, {"order_id": "A1"}).effect is Effect.DESTRUCTIVE
    assert call_facts(nonsense, {"order_id": "A1"}).effect is Effect.DESTRUCTIVE
    assert call_facts(broken, {"order_id": "days"}).effect is Effect.READ


def test_arguments_that_do_not_validate_count_as_destructive_under_a_rule() -> None:
    assert call_facts(prune, {"table": "logs", "dry_run": "perhaps"}).effect is Effect.DESTRUCTIVE
    assert call_facts(prune, {}).effect is Effect.DESTRUCTIVE


@given(st.dictionaries(st.text(max_size=9), st.none() | st.booleans() | st.text(max_size=5) | st.integers()))
def test_no_arguments_make_a_fixed_effect_less_than_declared(arguments: dict[str, Any]) -> None:
    assert call_facts(order_status, arguments).effect is Effect.READ
    assert call_facts(declare(prune, effect="write"), arguments).effect is Effect.WRITE


def test_a_declaration_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Declaration(effect=Effect.READ).effect = Effect.WRITE  # type: ignore[misc]


def test_the_exports_are_sorted_and_all_there() -> None:
    exported = pointsman.tools.__all__
    constants = [name for name in exported if name.isupper()]
    classes = [name for name in exported if name[0].isupper() and not name.isupper()]
    functions = [name for name in exported if name[0].islower()]
    assert exported == [*sorted(constants), *sorted(classes), *sorted(functions)]
    assert all(hasattr(pointsman.tools, name) for name in exported)
    assert set(exported) <= set(dir(pointsman.tools))
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        _ = pointsman.tools.absent


@pytest.mark.slow
def test_importing_the_tools_or_their_errors_loads_no_langchain() -> None:
    check = (
        "import sys, pointsman.tools, pointsman.tools.base, pointsman.tools.registry, pointsman.tools.files.workspace;"
        "pointsman.tools.ToolFailed; pointsman.tools.ToolRegistry;"
        "sys.exit(any(name.split('.')[0].startswith(('lang', 'mcp', 'httpx')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_a_tool_that_leaves_the_machine_may_declare_that_it_only_reads() -> None:
    @tool(effect="external", only_reads=True)
    def weather(city: str) -> str:
        """Tell the weather."""
        return city

    @tool(effect="external")
    def post(text: str) -> str:
        """Post a text."""
        return text

    @tool(effect="read")
    def look(key: str) -> str:
        """Look it up."""
        return key

    assert effect_of(weather) is Effect.EXTERNAL
    assert only_reads([weather, look])
    assert only_reads([])
    assert not only_reads([weather, post])


@pytest.mark.parametrize("effect", ["read", "write", "destructive", lambda arguments: "external"])
def test_only_reads_goes_with_an_external_effect_alone(effect: Any) -> None:
    with pytest.raises(ConfigError, match="only_reads goes with the effect 'external'"):

        @tool(effect=effect, only_reads=True)
        def some(text: str) -> str:
            """Do something."""
            return text
