//! What every store promises: scenes over the traits `Store` and `KeyStore`, each of them on each store.

#![allow(clippy::unwrap_used, reason = "in a test it is how a failure is told")]

mod accounts;
mod agents;
#[path = "../support/authority.rs"]
#[allow(dead_code, reason = "other tiers need more of it")]
mod authority;
mod broken;
mod copying;
mod counting;
mod cutting;
mod events;
mod keys;
mod postgres;
mod renewals;
#[path = "../support/postgres.rs"]
mod server;
mod sqlite;
mod support;
mod tampered;
mod tls;
mod trail;

/// Runs every scene on a store. A scene that is not listed is dead code, which the compiler tells.
macro_rules! on_each_store {
    ($($store:ident: $home:expr;)*) => {
        mod on {
            $(mod $store { scenes!($home); })*
        }
    };
}

macro_rules! scenes {
    ($home:expr) => {
        scenes! { $home =>
            accounts:
                every_field_survives_a_restart
                an_account_is_added_once_and_replaced_only_as_it_was_read
                replacing_an_account_forgets_its_tokens_and_its_intent
                no_version_is_used_twice
                what_was_declined_is_kept_beside_the_grant
                each_kind_of_health_survives
                a_deleted_account_is_not_resurrected
                a_grant_that_is_given_up_is_still_to_be_revoked;
            renewals:
                a_renewal_shows_the_intent_before_it_and_counts_the_attempts
                an_intent_survives_a_restart
                the_version_changes_with_the_grant_only
                a_rotated_token_takes_the_place_of_the_one_before
                an_outcome_for_another_version_changes_nothing
                a_token_replaces_the_one_for_the_same_scopes_and_expired_ones_go
                a_grant_that_does_not_work_has_no_access_tokens
                tokens_are_forgotten_without_the_grant
                many_renewals_at_once_lose_nothing;
            agents:
                agents_are_added_replaced_and_deleted
                holders_are_changed_together
                the_next_holder_of_a_deleted_agents_name_is_another;
            events:
                an_event_is_known_from_then_on
                an_accounts_events_push_out_its_own_alone;
            trail:
                a_trail_survives_a_restart_and_goes_on
                lines_come_from_either_end
                a_change_and_its_lines_are_one_commit
                filters_hold_together
                pages_lead_to_the_past_and_back
                renewals_are_counted_by_the_hour_and_by_owner
                a_head_that_was_noted_down_is_a_part_of_the_trail
                old_lines_go_and_the_rest_is_whole
                what_is_too_much_goes_from_the_start;
            counting:
                routine_lines_of_whole_weeks_are_counted_and_the_others_stay
                a_head_that_lasts_is_no_line_that_is_counted
                weeks_that_are_counted_are_pruned_as_a_whole;
            keys:
                every_kind_of_row_comes_to_lie_under_the_active_key
                a_keyring_is_changed_as_it_was_read_or_not_at_all
                a_store_whose_keys_are_not_had_is_not_opened
                an_altered_row_is_named_and_not_moved;
            tampered:
                a_record_that_somebody_else_wrote_is_named_and_not_used
                what_somebody_else_wrote_is_not_bound_by_a_later_write
                whatever_is_changed_in_the_trail_is_found
                ends_that_somebody_else_wrote_are_noticed_and_stay_known
                a_row_that_cannot_be_read_takes_nothing_from_the_others;
        }
    };
    ($home:expr => $($room:ident: $($scene:ident)*;)*) => {
        $(mod $room {
            $(#[tokio::test]
            async fn $scene() {
                crate::$room::$scene(crate::support::Scene::begin($home).await).await;
            })*
        })*
    };
}

on_each_store! {
    sqlite: crate::sqlite::Folder::new();
    postgres: crate::postgres::Database::new();
    behind_a_pooler: crate::postgres::Database::pooled();
}
