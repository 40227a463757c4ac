//! The rows that are not about a request, and a test that proves each.

/// The test of everything that there is not.
const NOT_THERE: &str = "tests/e2e/chats.rs::what_there_is_not_is_refused_and_never_half_done";

/// Tables by their heads; in each the rows by their first cells.
pub(super) const ROWS: [(&str, &[(&str, &str)]); 4] = [
    (
        "| what | chat dialect | responses dialect |",
        &[
            (
                "text, refusals",
                "server/backends/openai/chat/stream.rs::refusals_and_both_names_of_reasoning_are_kept",
            ),
            (
                "reasoning",
                "tests/e2e/chat_backends.rs::a_responses_backend_is_translated_both_ways_and_what_cannot_be_is_named",
            ),
            ("tool calls", "server/runs/chat/answer.rs::calls_are_told_apart_by_number_or_by_id"),
            (
                "`logprobs`, annotations",
                "server/runs/tests/compaction.rs::logprobs_of_the_chat_dialect_are_cut_with_their_text",
            ),
            (
                "events and fields that nobody knows",
                "tests/e2e/types.rs::every_type_of_item_passes_as_output_as_input_and_as_history",
            ),
            (
                "`created`, `queued`, `in_progress`, `completed` and so on",
                "tests/e2e/types.rs::the_events_of_the_life_of_a_response_are_the_gateways_own",
            ),
            (
                "ids, `sequence_number`, `response_id`",
                "tests/e2e/types.rs::every_type_of_event_passes_with_ids_and_numbers_of_ours",
            ),
            (
                "`output_index`, `content_index`, empty `logprobs`",
                "server/runs/adopt.rs::places_and_lists_that_a_backend_leaves_out_are_filled_in",
            ),
            (
                "`obfuscation`, `keepalive`",
                "server/runs/adopt.rs::one_item_has_one_id_and_one_place_in_every_event_and_unknown_fields_keep_their_bytes",
            ),
            ("usage", "tests/e2e/chats.rs::a_chat_is_answered_in_the_shape_of_openai"),
            ("why it ended", "tests/e2e/types.rs::the_events_of_the_life_of_a_response_are_the_gateways_own"),
            (
                "largest event",
                "tests/e2e/bad_backends.rs::a_backend_that_fails_after_some_output_leaves_a_failed_response_with_it",
            ),
        ],
    ),
    (
        "| call | what |",
        &[
            ("`POST /v1/chat/completions`", "tests/e2e/chats.rs::a_chat_that_is_sent_again_is_one_chat"),
            (
                "`GET /v1/chat/completions/{id}`",
                "tests/e2e/chats.rs::a_chat_is_answered_in_the_shape_of_openai",
            ),
            (
                "`GET …/{id}?stream=true&starting_after=N`",
                "tests/e2e/chats.rs::a_reader_that_drops_goes_on_behind_the_last_id_and_ends_with_204",
            ),
            (
                "`POST …/{id}/cancel`",
                "tests/e2e/chats.rs::a_chat_is_cancelled_and_deleted_under_its_own_path_alone",
            ),
            (
                "`DELETE …/{id}`",
                "tests/e2e/chats.rs::a_chat_is_cancelled_and_deleted_under_its_own_path_alone",
            ),
            (
                "`POST …/{id}/tickets`, `x-tidemark-ticket`, `?ticket=`",
                "tests/e2e/tickets.rs::a_ticket_of_a_chat_reads_it_in_the_url_too_and_no_other",
            ),
            (
                "`GET /v1/chat/completions`",
                "tests/e2e/chats.rs::a_chat_is_cancelled_and_deleted_under_its_own_path_alone",
            ),
            (
                "`GET …/{id}/messages`",
                "bridge/tests/rest/lists.rs::chats_and_their_messages_are_listed_behind_an_id",
            ),
        ],
    ),
    (
        "| what | answer | why |",
        &[
            ("`POST /v1/chat/completions/{id}` (`update`: new labels)", NOT_THERE),
            ("lists with `order=asc`, `model` or `metadata[…]`", NOT_THERE),
            ("`POST /v1/responses/input_tokens`, `POST /v1/responses/compact`", NOT_THERE),
            ("embeddings, files, images, audio, batches, fine-tuning, assistants, vector stores", NOT_THERE),
        ],
    ),
    (
        "| what | how |",
        &[
            (
                "`id`, `created`, `model`, `object`",
                "tests/e2e/chats.rs::a_stream_has_unnamed_frames_with_ids_and_one_done",
            ),
            (
                "chunks of a chat backend",
                "tests/e2e/chat_backends.rs::several_choices_and_what_nobody_knows_pass_through_a_chat_backend",
            ),
            ("`usage`", "tests/e2e/chats.rs::a_stream_has_unnamed_frames_with_ids_and_one_done"),
            ("the object", "server/runs/chat/answer.rs::text_grows_and_what_is_said_once_does_not"),
            (
                "frames",
                "bridge/src/chat/frames.rs::a_reader_sees_chunks_and_the_end_and_every_frame_has_an_id",
            ),
            (
                "the end",
                "tests/e2e/chats.rs::a_reader_that_drops_goes_on_behind_the_last_id_and_ends_with_204",
            ),
            (
                "failed before the first chunk",
                "bridge/tests/rest/streams.rs::the_headers_of_a_chat_wait_for_its_first_chunk_or_the_first_heartbeat",
            ),
            (
                "failed later",
                "tests/e2e/chat_backends.rs::a_failure_after_the_first_chunk_is_one_frame_without_done",
            ),
            ("cancelled", "tests/e2e/chats.rs::a_chat_is_cancelled_and_deleted_under_its_own_path_alone"),
            (
                "output at the limit of bytes",
                "server/runs/chat/compose.rs::at_the_limit_every_choice_that_is_open_was_cut",
            ),
        ],
    ),
];
