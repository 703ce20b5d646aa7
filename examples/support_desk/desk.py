"""A bank's support desk on real customer messages.

pointsman run examples/support_desk/desk.py:flow "My card was stolen"
pointsman run examples/support_desk/desk.py:flow --batch examples/support_desk/messages.csv
"""

from pathlib import Path

from pointsman import support_desk

HERE = Path(__file__).parent

# Stolen cards, fraud, blocked or missing money: only the decision agent or a person may settle these.
HIGH_RISK = [
    "balance_not_updated_after_bank_transfer",
    "balance_not_updated_after_cheque_or_cash_deposit",
    "card_payment_not_recognised",
    "card_swallowed",
    "cash_withdrawal_not_recognised",
    "compromised_card",
    "direct_debit_payment_not_recognised",
    "lost_or_stolen_card",
    "lost_or_stolen_phone",
    "pin_blocked",
    "Refund_not_showing_up",
    "top_up_reverted",
    "transaction_charged_twice",
    "transfer_not_received_by_recipient",
    "wrong_amount_of_cash_received",
]

flow = support_desk(
    intents=HERE / "intents.csv",
    urgency=HERE / "urgency.csv",
    sentiment=HERE / "sentiment.csv",
    knowledge=HERE / "knowledge",
    high_risk=HIGH_RISK,
)
