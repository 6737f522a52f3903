//! Peers that break every rule: one file for each family of bad input.
//!
//! Each attack runs while good peers, one connected before and one that connects meanwhile,
//! exchange 1,000 messages each with the socket under attack and must not notice. At the end the
//! counters and the warnings in the log must agree with the events, one for each offence; nothing
//! may have panicked.
//!
//! | Bad input | Test |
//! |---|---|
//! | *dropped and counted, the connection stays* | |
//! | messages to a PUB (or PUSH) | `flood::messages_to_a_publisher_…`, `flood::messages_to_a_push_…` |
//! | CANCEL without SUBSCRIBE | `subscriptions::what_was_never_subscribed_is_not_missed` |
//! | unknown commands | `frames::unknown_commands_…`, without end: `flood::unknown_commands_…` |
//! | PING with a context over 16 octets, any TTL | `frames::pings_are_answered_whatever_they_say` |
//! | PINGs whose answers are not read | `flood::pings_of_a_peer_that_does_not_read_…` |
//! | *an error, a close, one line in the log, one more on the counter* | |
//! | nothing at all; silence after the first octet | `first_octets::silence_…` |
//! | an octet at a time | `first_octets::an_octet_at_a_time_does_not_move_the_deadline` |
//! | half-open connections | `flood::half_open_…`, `flood::a_newcomer_is_not_kept_out_…`, `noise::half_open_…`, `quic_flood::half_open_…` |
//! | random octets | `first_octets::noise_is_refused` |
//! | another protocol's first octets | `first_octets::other_protocols_…`, as server: `first_octets::a_client_survives_…` |
//! | ZMTP 1 and 2 | `first_octets::zmtp_1_and_2_are_refused_by_their_version` |
//! | a handshake cut anywhere | `handshake::every_cut_…` (NULL, PLAIN), `sealed::every_cut_…`, in the middle: `middle::…` |
//! | a handshake with any bit flipped | `handshake::every_flipped_bit_…` (NULL, PLAIN), `sealed::no_flipped_bit_…`, in the middle: `middle::…` |
//! | frames of 2^31, 2^63, 2^64 - 1 octets | `frames::claims_of_size_…`, in the handshake: `handshake::frames_that_are_no_handshake_…` |
//! | frames that no rule allows, PING without TTL | `frames::frames_that_no_rule_allows_…` |
//! | links that break inside a frame | `frames::links_that_break_inside_a_frame_…` |
//! | messages over `max_message_size`, `max_parts` | `frames::messages_over_a_limit_close_the_connection` |
//! | READY with 10,000 properties, names twice or empty | `handshake::metadata_is_held_to_its_rules` |
//! | a wrong socket type | `handshake::wrong_socket_types_are_refused_and_named` |
//! | a topic over its limit | `subscriptions::a_topic_over_its_limit_…`, `subscriptions::a_manual_xpub_…` |
//! | a million subscriptions | `subscriptions::a_million_subscriptions_…`, coming and going: `subscriptions::coming_and_going_…` |
//! | NULL, PLAIN or a wrong key to a CURVE server | `curve::whoever_does_not_speak_curve_is_refused` |
//! | another mechanism, network or identity to a NOISE socket | `noise::whoever_…`, `noise::strangers_…` |
//! | names that nobody has, at a node | `names::names_that_nobody_has_…` |
//! | another mechanism on a QUIC link; a tag without its network's secret; no trust | `quic::other_mechanisms_…`, `quic::a_tag_…`, `quic::peers_…` |
//! | CURVE frames replayed or reordered | `curve::frames_that_come_twice_…` |
//! | NOISE records replayed, reordered, left out, changed | `noise::records_that_…`, frames in them: `noise::what_records_carry_…` |
//! | recorded handshakes said again, here and elsewhere | `sealed::a_recorded_handshake_…` |
//! | ERROR after the handshake | `frames::the_peers_error_…` |
//! | *whoever reads nothing keeps nobody waiting and costs little memory* | |
//! | a subscriber, a ROUTER's peer, a REQ | `slow::…` |
//! | an XPUB's own application | `subscriptions::an_application_that_does_not_read_…` |
//! | empty frames of peers that leave | `flood::empty_frames_…` |
//! | *the caller's own mistakes* | |
//! | impossible options | `misuse::impossible_options_…`, `misuse::the_limits_of_options_are_accepted` |
//! | malformed endpoints | `misuse::malformed_endpoints_…` |

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod client;
mod curve;
mod first_octets;
mod flood;
mod frames;
mod handshake;
mod log;
mod memory;
mod middle;
mod misuse;
mod names;
mod noise;
mod process;
mod quic;
mod quic_flood;
mod sealed;
mod slow;
mod subscriptions;
mod victim;
