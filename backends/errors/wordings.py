"""Patterns for causes that only the message of an error shows, when the request itself is not at fault.

Each entry is a regular expression, searched for in the lower-case message, and the kind it means. Routers and proxies
pass on the message of the provider behind them, so these apply to every backend; wordings of one vendor alone are in
its backend. The wordings are those that users of clients and gateways have reported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ...configs.words import FailureKind

__all__ = ["BROKE", "WORDINGS", "meant"]

_BROKE: Final = (
    r"(?:insufficient|not enough|out of|no) (?:account )?(?:balance|credits?|funds)",
    r"insufficient_(?:balance|credits|quota|user_quota)",
    r"credit balance is too low",
    r"balance (?:is )?(?:not enough|insufficient|too low|exhausted)",
    r"billing (?:hard )?limit|billing_hard_limit|spend(?:ing)? (?:limit|cap)",
    r"payment (?:is )?(?:required|overdue|method)",
    r"arrear|account is in good standing|account is overdue",
    r"余额不足|欠费|资源包",
    r"budget (?:has been |is )?(?:exceeded|exhausted|used up)|over budget|exceed\w*budget|max budget",
    r"(?:out of|requires?|is required.{0,20}|draw from your) extra usage|extra usage is required",
    r"(?:doesn't|does not|don't) have any credits|purchase (?:more )?credits|buy (?:more )?credits",
    r"(?:no|zero) (?:remaining |more )?credits|credits? (?:are |is |were )?(?:exhausted|used up)|requires more credits",
    r"please (?:recharge|top up)|subscription (?:has |is )?(?:expired|ended)|plan does not include",
    r"(?:key|credit|usage|spend\w*) ?limit ?(?:is |was |has been )?(?:exceeded|reached|error|hit)|hit your usage limit",
)
BROKE: Final[Mapping[str, FailureKind]] = MappingProxyType(dict.fromkeys(_BROKE, FailureKind.QUOTA))
"""The account is out of credit: some vendors send this with the status of a rate limit, which would be temporary."""

_ACCOUNT: Final = (
    *_BROKE,
    r"reached your specified .{0,20}usage limit",
    r"(?:exceeded|exhausted|used up) (?:your |the |its )?(?:current |monthly |daily |free |trial )*quota",
    r"quota (?:has been |is )?(?:exceeded|exhausted|used up)",
    r"enable billing|without a billing account|billing (?:is )?(?:disabled|not active|not enabled)",
    r"free (?:tier|quota|trial|allocated quota).{0,40}(?:not available|exhausted|exceeded|ended|expired|only)",
)
_KEY: Final = (
    r"(?:organi[sz]ation|account|workspace|project) (?:has been|is|was) "
    r"(?:disabled|restricted|deactivated|suspended|terminated|blocked|banned|on hold)",
    r"(?:invalid|incorrect|expired|missing|unknown|revoked) api[ _-]?key",
    r"api[ _-]?key (?:not valid|not found|expired|has expired|is invalid|is not valid|is missing|was revoked)",
    r"authentication (?:fails|failed|error)|login fail",
    r"api[ _-]?key (?:was |has been |is )?(?:reported as leaked|leaked|blocked|disabled|revoked|deleted|suspended)",
    r"invalid (?:x-api-key|bearer|credential)|no (?:auth )?credentials|credential is only authori[sz]ed",
    r"token (?:has |is |included in the request is |was )?(?:expired|revoked)",
    r"security token .{0,30}invalid|令牌.{0,12}过期",
)
_CONTENT: Final = (
    r"content (?:management )?polic|usage polic|policy violation|violat\w+ .{0,60}(?:polic|guideline|terms)",
    r"content exists risk|considered high[ -]risk",
    r"inappropriate (?:content|input|text|image)|data_?inspection_?failed",
    r"(?:input|output|content|prompt|request|image|text)s?\b.{0,40}\b(?:sensitive|flagged|moderation|unsafe|prohibited)",
    r"flagged (?:as|by|for)|safety (?:system|filter|polic|reason)|(?:blocked|rejected) by .{0,40}(?:filter|moderation)",
    r"不安全|敏感内容|违规|内容审核",
    r"new_sensitive|content_policy|policy_violation|safety_check|blocked by model armor",
    r"guardrails? (?:has |have )?(?:blocked|intervened|triggered)",
    r"(?:content|prompt|response) (?:was|has been|is) blocked",
)
_OVERFLOW: Final = (
    r"max(?:imum)? (?:context|prompt|input|sequence)(?: token)? (?:length|size|window|limit)",
    r"exceed\w*\b.{0,60}\bcontext[ _](?:window|length|size|limit)",
    r"context[ _](?:window|length|size|limit)\b.{0,40}exceed",
    r"(?:longer|greater|larger) than the (?:model'?s )?(?:maximum )?context (?:length|size|window)",
    r"context (?:the )?overflow|context window (?:is )?full|too large for (?:the )?(?:model|context)",
    r"(?:prompt|input|messages|conversation|length of all messages) (?:is |are )?too (?:long|large)\b",
    r"too many (?:input |prompt )?tokens(?! per)|(?:input|prompt) tokens exceed",
    r"prompt exceeds max|(?:prompt|input)(?: token)? (?:length|count|size)\b.{0,40}exceed",
    r"token count\b.{0,40}exceed|number of tokens\b.{0,60}exceed|exceeds the maximum number of tokens",
    r"(?:exceed\w*|over) (?:the )?(?:model'?s? )?(?:max(?:imum)? )?token limit|token limit (?:is )?exceeded",
    r"(?:reduce|shorten|trim) (?:the length of )?(?:the|your) (?:messages|prompt|input)",
    r"range of input length should be",
    r"tokens?`?.{0,60}must be (?:<=|less than|at most)|must have (?:less|fewer) than \d+ tokens",
    r"(?:configured|available) context size|content_length_exceeds|prompt_tokens_exceeded",
    r"(?:requires|needs|has) [\d,]+ tokens\b.{0,60}\b(?:only|limit|maximum|but)\b",
    r"prompt is [\d,]+ tokens\b.{0,40}\bcontext window|total tokens? exceeds? the model'?s max",
    # The context left for the answer is negative.
    r"max_(?:completion_|output_)?tokens must be at least \d+, got -\d+",
    r"context_?(?:length|window)_?exceeded|context (?:length|window|size) is only|tokens_limit_reached",
    r"tokens?\b.{0,30}\bonly [\d,]+ (?:are |is )?(?:available|left)|maximum allowed number of input tokens",
    r"request body too large for\b.{0,60}\bmodel",
    r"(?:prompt|input) (?:(?:is |was )?longer than|does not fit)",
    r"n_(?:keep|prompt|tokens)\b.{0,30}\bn_ctx|string too long",
    r"上下文.{0,8}(?:超出|超过|过长)|(?:输入|提示词?).{0,8}(?:过长|太长)",
    r"prompt ?超长|输入.{0,6}超[出过长]|超[出过].{0,12}(?:上下文|长度|最大)",
)
_MODEL: Final = (
    r"location is not supported|(?:country|region|territory)\b.{0,40}not (?:be )?supported",
    r"unsupported (?:country|region|location)",
    r"not available in (?:your|this) (?:country|region|location|territory)",
    r"must be verified to|not (?:authori[sz]ed|entitled|allowed|permitted) to (?:use|access) (?:this|the) model",
    r"(?:does not|doesn't|do not|not) support (?:tools?|tool[ _]|function|image|vision|audio|video|pdf|thinking|chat|"
    r"stream|system|multimodal|assistant message prefill)",
    r"\bmodel\b.{0,60}\b(?:does not|doesn't|do not) support\b|not supported (?:with|by|for|in|on) (?:this|the) model",
    r"requires --[a-z]",
    r"(?:has been|was|is) (?:decommissioned|deprecated|retired|sunset|discontinued|shut down)",
    r"no longer (?:supported|available|offered)",
    r"not a valid model|(?:unknown|invalid|no such|unsupported|unrecognized) model|model identifier is invalid",
    r"model\b.{0,80}\b(?:does not exist|not exist|not found|is not available|isn't available)",
    r"no (?:endpoints?|allowed providers?|available channel)\b|on-demand throughput isn|operation not allowed",
    r"no (?:healthy )?deployments? available|unsupported_country|model_not_supported|not found for api version",
    r"(?:does not|doesn't|don't|do not) have access to (?:the |this )?model",
    r"\bmodel\b.{0,40}\bnot (?:enabled|supported)",
    r"(?:image|audio|video|tool|function|multi-?modal|instruction|role)\w*`?\b.{0,20}\bnot (?:enabled|supported)",
    r"is not a (?:chat|multimodal|vision)\b.{0,10}model|at most 0 (?:image|audio|video)|only supports single tool",
)
_WRITTEN: Final = (
    r"failed to (?:call a function|generate json|parse (?:the )?(?:tool|function) call)",
    r"tool call validation failed|output_parse_failed",
)
_BUSY: Final = (
    r"overloaded|server(?:s)? (?:is|are) (?:currently |too )?busy|temporarily unavailable|high demand|no capacity",
    r"no healthy upstream|service unavailable|high traffic|too busy",
)

# The first match counts. Content comes first, since such a message may also name the policy's page or a model.
WORDINGS: Final[Mapping[str, FailureKind]] = MappingProxyType(
    {
        **dict.fromkeys(_CONTENT, FailureKind.CONTENT_FILTER),
        **dict.fromkeys(_KEY, FailureKind.AUTH),
        **dict.fromkeys(_ACCOUNT, FailureKind.QUOTA),
        **dict.fromkeys(_WRITTEN, FailureKind.INVALID_OUTPUT),
        **dict.fromkeys(_OVERFLOW, FailureKind.CONTEXT_LENGTH),
        r"rate[ _-]limit|too many requests|throttl|request rate|并发|速率": FailureKind.RATE_LIMIT,
        **dict.fromkeys(_MODEL, FailureKind.UNAVAILABLE),
        **dict.fromkeys(_BUSY, FailureKind.OVERLOADED),
    }
)
"""Regular expression -> kind."""


def meant(message: str, *tables: Mapping[str, FailureKind]) -> FailureKind | None:
    """Return the kind of failure a message describes, by the first matching entry; None if none matches.

    Args:
        message: The server's message.
        tables: Regular expression -> kind, the most specific table first.
    """
    lower = message.lower()
    return next((kind for table in tables for phrase, kind in table.items() if re.search(phrase, lower)), None)
