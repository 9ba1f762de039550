"""Which tests of the stores the simulation's model of the database is not held to, and why.

It is held to all others that ask for a pool, new ones included. A test that asks for the URL of a database
needs no entry: it is about a server, its connections or their loss.
"""

from typing import Final

_PLANS: Final = "looks at the plans of Postgres, or at how many rows they visit: the model has none"
_BROKEN: Final = "breaks the schema, which the model cannot be without"
_MEMORY: Final = "measures the memory of the process, which the model's own rows are in"
_TRANSACTIONS: Final = "asks Postgres which transaction wrote a row: the model does not keep that"
_SESSION: Final = "asks a session of Postgres for its settings, its time zone or its prepared statements"
_ADVISORY: Final = "is about advisory locks of Postgres: the model's clean-up takes none"
_FUNCTIONS: Final = "replaces functions of the schema: the simulation has unknown statuses as weather"

NOT_MODELLED: Final = {
    "test_deks_listing": {
        "test_a_database_lost_on_the_way_ends_the_listing_with_an_error": _BROKEN,
        "test_a_hundred_thousand_deks_are_listed_and_rewrapped_in_bounded_memory": _MEMORY,
        "test_a_page_of_files_visits_its_own_rows_alone_after_planning_on_an_empty_table": _PLANS,
        "test_rewrapping_planned_on_empty_tables_visits_the_rows_it_names_alone": _PLANS,
    },
    "test_faults": {
        "test_a_deadlock_is_resolved_by_trying_again": "raises an error in SQL",
        "test_a_new_connection_has_its_hot_statements_prepared": _SESSION,
        "test_a_session_has_nothing_to_reset": _SESSION,
        "test_every_connection_has_the_settings_of_the_session": _SESSION,
    },
    "test_invitations": {
        "test_a_page_visits_its_own_rows_alone_after_planning_on_an_empty_table": _PLANS,
        "test_seven_days_stay_168_hours_over_a_change_of_daylight_saving": _SESSION,
    },
    "test_lanes": {"test_pushes_that_wait_together_share_a_transaction": _TRANSACTIONS},
    "test_maintenance": {
        "test_a_batch_visits_the_expired_alone": _PLANS,
        "test_a_failure_is_raised": _BROKEN,
        "test_no_lock_is_left_behind": _ADVISORY,
        "test_while_another_process_is_at_it_nothing_is_deleted": _ADVISORY,
    },
    "test_members": {"test_a_failing_database_raises_and_is_no_outcome": _BROKEN},
    "test_pulls_long": {
        "test_a_hundred_thousand_entries_take_bounded_memory": _MEMORY,
        "test_no_plan_sorts_records": _PLANS,
    },
    "test_push_authors": {"test_a_huge_push_shares_no_statement_with_others": _TRANSACTIONS},
    "test_push_neighbours": {
        "test_a_record_that_appears_in_another_space_during_the_push_is_foreign": (
            "needs a transaction that has written and not committed: the model commits each statement at once"
        ),
    },
    "test_queries": {"test_every_query_prepares": _SESSION},
    "test_rate_limits": {
        "test_giving_a_slot_back_twice_gives_nobody_elses_back": (
            "needs VACUUM, by which a row gets the place of another: the model gives no place twice"
        ),
        "test_hashes_reach_the_server_in_the_type_of_the_column": _SESSION,
        "test_taking_visits_one_actors_rows_alone_after_planning_on_an_empty_table": _PLANS,
    },
    "test_spaces": {
        "test_every_update_moves_updated_at": "reads a column of a trigger's, which no store reads",
        "test_spaces_are_found_by_index_after_planning_on_an_empty_table": _PLANS,
    },
    "test_unknown_status": {
        "test_a_lane_goes_on_after_a_lonely_push_with_an_unknown_status": _FUNCTIONS,
        "test_a_rewrap_refused_for_an_unknown_reason_is_a_storage_error": _FUNCTIONS,
        "test_an_unknown_status_of_a_push_is_an_error_of_that_push_alone": _FUNCTIONS,
        "test_an_unknown_status_of_any_other_change_is_a_storage_error": _FUNCTIONS,
    },
}
"""By module and test."""


def reason_against(module: str, test: str) -> str | None:
    """Why a test does not run over the model; None: it does."""
    return NOT_MODELLED.get(module.rpartition(".")[2], {}).get(test)
