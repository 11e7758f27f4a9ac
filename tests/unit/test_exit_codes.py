from dify_job.exit_codes import TABLE, Outcome, code_of


def test_every_outcome_has_a_row_and_codes_are_unique() -> None:
    assert {row.outcome for row in TABLE} == set(Outcome)
    codes = [row.code for row in TABLE if row.code]
    assert len(codes) == len(set(codes))
    assert code_of(Outcome.CANCELLED, 2) == 130
    assert code_of(Outcome.CANCELLED) == 143
