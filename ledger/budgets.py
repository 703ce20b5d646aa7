class Budgets:
    pass


class BudgetExceeded:
    pass
