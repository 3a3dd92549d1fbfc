// Claims about sessions, the table "Session" of wire/PROTOCOL.md from the router's side: what a stranger can make the
// router do, what a cookie proves, when a session begins, moves and ends. Every test ends with the worker's row
// in balance.
#include <criterion/criterion.h>
#include <string.h>

#include "dataplane/core/engine_state.h"
#include "tests/unit/core/rig.h"

static struct rig *rig;

static void setup(void)
{
	rig = rig_create(&(struct rig_options){ .sessions_max = 8 });
}

static void teardown(void)
{
	cr_expect(rig_balances(rig));
	rig_destroy(rig);
}

TestSuite(session, .init = setup, .fini = teardown);

static uint64_t refused(enum weir_reason reason)
{
	return weir_engine_row(rig->workers[0].engine)->refused[reason];
}

static uint64_t cookie_of(const struct rig_client *client)
{
	const struct weir_frame_header *frame = rig_last(client, WEIR_KIND_CHALLENGE);
	cr_assert_not_null(frame);
	return ((const struct weir_challenge *)(const void *)(frame + 1))->cookie;
}

static const struct weir_welcome *welcome_of(const struct rig_client *client)
{
	const struct weir_frame_header *frame = rig_last(client, WEIR_KIND_WELCOME);
	return frame ? (const void *)(frame + 1) : NULL;
}

static const struct weir_error *error_of(const struct rig_client *client)
{
	const struct weir_frame_header *frame = rig_last(client, WEIR_KIND_ERROR);
	return frame ? (const void *)(frame + 1) : NULL;
}

Test(session, hello_without_cookie_makes_no_state_and_a_small_answer)
{
	struct rig_client client;
	rig_client_init(rig, &client, 0, 1);
	for (int i = 0; i < 1000; i++) {
		client.nonce++;
		rig_hello(&client, 0);
	}
	cr_assert_eq(rig_count(&client, WEIR_KIND_CHALLENGE), 1000);
	cr_assert_eq(weir_engine_row(rig->workers[0].engine)->sessions, 0);
	cr_assert_leq(rig->workers[0].sent[0].size, client.frame_size);
}

Test(session, the_echoed_cookie_opens_a_session_of_the_agreed_size)
{
	struct rig_client client;
	rig_client_init(rig, &client, 0, 1);
	client.frame_size = 1232;
	rig_connect(&client);
	cr_assert_eq(welcome_of(&client)->frame_size, 1232);
	cr_assert_eq(rig->workers[0].sent[rig->workers[0].sent_count - 1].size, 1232, "welcome is padded to it");
	cr_assert_eq(welcome_of(&client)->router, 0x1122334455667788ull);
	client.frame_size = 9000;
	client.nonce++;
	rig_connect(&client);
	cr_assert_eq(welcome_of(&client)->frame_size, 1472, "no more than the router's limit");
}

static uint64_t agreed(const struct rig_client *client)
{
	return weir_session_find(&rig->workers[0].engine->sessions, client->session)->agreed;
}

// One from before there was anything to offer, one that knows some of it, one of a later release.
Test(session, agrees_with_every_client_on_what_both_can)
{
	struct rig_client clients[3];
	rig_destroy(rig);
	rig = rig_create(&(struct rig_options){ .sessions_max = 8, .offers = WEIR_OFFER_SPARSE | WEIR_OFFER_DURABLE });
	for (uint16_t i = 0; i < 3; i++)
		rig_client_init(rig, &clients[i], 0, i + 1);
	clients[1].has_options = clients[2].has_options = true;
	clients[1].knows = WEIR_OFFER_SPARSE | WEIR_OFFER_SETTLE;
	clients[2].knows = UINT64_MAX;
	for (uint16_t i = 0; i < 3; i++) {
		rig_connect(&clients[i]);
		cr_assert_eq(welcome_of(&clients[i])->offers, WEIR_OFFER_SPARSE | WEIR_OFFER_DURABLE);
		cr_assert_eq(welcome_of(&clients[i])->deliver_overhead, WEIR_DELIVER_OVERHEAD);
	}
	cr_expect_eq(agreed(&clients[0]), 0);
	cr_expect_eq(agreed(&clients[1]), WEIR_OFFER_SPARSE);
	cr_expect_eq(agreed(&clients[2]), WEIR_OFFER_SPARSE | WEIR_OFFER_DURABLE);
}

Test(session, what_was_not_offered_is_refused_by_that_name)
{
	struct rig_client client;
	rig_client_init(rig, &client, 0, 1);
	rig_connect(&client);
	struct weir_frame_header settle = { .kind = WEIR_KIND_SETTLE, .count = 1 };
	const struct weir_settle_entry entry = { .topic = RIG_TOPIC, .verb = WEIR_SETTLE_ACK, .number = 1, .mask = 1 };
	rig_send(&client, &settle, &entry, sizeof(entry));
	cr_expect_eq(refused(WEIR_R_NOT_OFFERED), 1);
	struct weir_frame_header header = { .kind = WEIR_KIND_OPEN, .topic = RIG_TOPIC };
	const struct weir_open open = { .request = 7, .level = WEIR_ACK_ROUTED, .for_group = 3 };
	rig_send(&client, &header, &open, sizeof(open));
	rig_run(rig);
	cr_expect_eq(rig_count(&client, WEIR_KIND_OPENED), 0);
	const struct weir_refuse_entry *refusal = (const void *)(rig_last(&client, WEIR_KIND_REFUSE) + 1);
	cr_expect(refusal->reason == WEIR_R_NOT_OFFERED && refusal->sequence == 7);
}

Test(session, the_same_nonce_from_the_same_address_gets_the_same_welcome)
{
	struct rig_client client;
	rig_client_init(rig, &client, 0, 1);
	rig_connect(&client);
	uint64_t first = client.session;
	rig_connect(&client);
	cr_assert_eq(client.session, first);
	cr_assert_eq(refused(WEIR_R_DUPLICATE_HELLO), 1);
	cr_assert_eq(weir_engine_row(rig->workers[0].engine)->sessions, 1);
}

Test(session, a_cookie_of_another_address_nonce_or_age_is_refused_and_challenged)
{
	struct rig_client client;
	struct rig_client other;
	rig_client_init(rig, &client, 0, 1);
	rig_client_init(rig, &other, 0, 2);
	rig_hello(&client, 0);
	uint64_t cookie = cookie_of(&client);
	other.nonce = client.nonce;
	rig_hello(&other, cookie);
	cr_assert_eq(refused(WEIR_R_COOKIE), 1);
	client.nonce++;
	rig_hello(&client, cookie);
	cr_assert_eq(refused(WEIR_R_COOKIE), 2);
	client.nonce--;
	rig_advance_ms(rig, 12000);
	rig_hello(&client, cookie);
	cr_assert_eq(refused(WEIR_R_COOKIE), 3);
	cr_assert_eq(rig_count(&client, WEIR_KIND_CHALLENGE), 3);
	cr_assert_eq(weir_engine_row(rig->workers[0].engine)->sessions, 0);
	rig_hello(&client, cookie_of(&client));
	cr_assert_eq(weir_engine_row(rig->workers[0].engine)->sessions, 1);
}

Test(session, a_hello_smaller_than_it_claims_is_dropped_in_silence)
{
	struct rig_client client;
	rig_client_init(rig, &client, 0, 1);
	_Alignas(8) uint8_t body[400] = { 0 };
	struct weir_hello hello = { .nonce = 1, .frame_size = 1472, .versions = { 1 } };
	memcpy(body, &hello, sizeof(hello));
	struct weir_frame_header header = { .kind = WEIR_KIND_HELLO };
	rig_send(&client, &header, body, sizeof(body));
	hello.frame_size = 448;
	memcpy(body, &hello, sizeof(hello));
	rig_send(&client, &header, body, sizeof(body));
	cr_assert_eq(refused(WEIR_R_SMALL_HELLO), 2);
	cr_assert_eq(rig->workers[0].sent_count, 0);
}

Test(session, a_hello_without_a_common_version_is_told_so)
{
	struct rig_client client;
	rig_client_init(rig, &client, 0, 1);
	_Alignas(8) uint8_t body[1424] = { 0 };
	const struct weir_hello hello = { .nonce = 5, .frame_size = 1472, .versions = { 9, 8 } };
	memcpy(body, &hello, sizeof(hello));
	struct weir_frame_header header = { .kind = WEIR_KIND_HELLO };
	rig_send(&client, &header, body, sizeof(body));
	cr_assert_eq(error_of(&client)->reason, WEIR_R_VERSION);
	cr_assert_eq(error_of(&client)->request, 5);
	cr_assert_eq(refused(WEIR_R_VERSION), 1);
}

Test(session, silence_for_a_lease_ends_it_and_any_frame_keeps_it)
{
	struct rig_client client;
	rig_client_init(rig, &client, 0, 1);
	rig_connect(&client);
	for (int i = 0; i < 5; i++) {
		rig_advance_ms(rig, 2900);
		rig_control(&client, WEIR_KIND_PING, 0, 1234);
	}
	cr_assert_eq(rig_count(&client, WEIR_KIND_PONG), 5);
	cr_assert_eq(rig_last(&client, WEIR_KIND_PONG)->sequence, 1234);
	rig_advance_ms(rig, 2990);
	cr_assert_eq(weir_engine_row(rig->workers[0].engine)->sessions, 1);
	rig_advance_ms(rig, 100);
	cr_assert_eq(weir_engine_row(rig->workers[0].engine)->sessions, 0);
	rig_control(&client, WEIR_KIND_PING, 0, 99);
	cr_assert_eq(refused(WEIR_R_NO_SESSION), 1);
	cr_assert_eq(error_of(&client)->reason, WEIR_R_NO_SESSION);
	cr_assert_eq(error_of(&client)->request, 99);
	cr_assert_eq(rig_last(&client, WEIR_KIND_ERROR)->session, client.session);
}

Test(session, bye_is_answered_and_ends_it)
{
	struct rig_client client;
	rig_client_init(rig, &client, 0, 1);
	rig_connect(&client);
	rig_control(&client, WEIR_KIND_BYE, 0, 0);
	cr_assert_eq(rig_count(&client, WEIR_KIND_BYE), 1);
	cr_assert_eq(weir_engine_row(rig->workers[0].engine)->sessions, 0);
}

Test(session, a_late_copy_of_its_hello_does_not_bring_it_back_or_end_its_successor)
{
	struct rig_client client;
	rig_client_init(rig, &client, 0, 1);
	rig_connect(&client);
	uint64_t nonce = client.nonce;
	uint64_t cookie = cookie_of(&client);
	rig_control(&client, WEIR_KIND_BYE, 0, 0);
	client.nonce++;
	rig_connect(&client);
	uint64_t successor = client.session;
	client.nonce = nonce;
	rig_hello(&client, cookie);
	cr_assert_eq(weir_engine_row(rig->workers[0].engine)->sessions, 1);
	rig_forget(rig);
	client.session = successor;
	rig_control(&client, WEIR_KIND_PING, 0, 7);
	cr_assert_eq(rig_count(&client, WEIR_KIND_PONG), 1);
}

Test(session, a_new_session_from_the_same_address_ends_the_old_one)
{
	struct rig_client client;
	rig_client_init(rig, &client, 0, 1);
	rig_connect(&client);
	uint64_t old = client.session;
	client.nonce++;
	rig_connect(&client);
	cr_assert_neq(client.session, old);
	cr_assert_eq(weir_engine_row(rig->workers[0].engine)->sessions, 1);
}

Test(session, a_frame_from_another_address_is_challenged_and_moves_only_after_its_echo)
{
	struct rig_client client;
	rig_client_init(rig, &client, 0, 1);
	rig_connect(&client);
	uint64_t session = client.session;
	struct weir_path old = client.path;
	client.path = rig_path(2);
	rig_control(&client, WEIR_KIND_PING, 0, 1);
	cr_assert_eq(refused(WEIR_R_STRANGER), 1);
	cr_assert_eq(rig_count(&client, WEIR_KIND_PONG), 0);
	cr_assert_eq(rig_last(&client, WEIR_KIND_CHALLENGE)->session, session);
	client.session = 0;
	rig_hello(&client, cookie_of(&client));
	cr_assert_eq(welcome_of(&client)->session, session, "the same session");
	client.session = session;
	rig_control(&client, WEIR_KIND_PING, 0, 2);
	cr_assert_eq(rig_count(&client, WEIR_KIND_PONG), 1);
	client.path = old;
	rig_control(&client, WEIR_KIND_PING, 0, 3);
	cr_assert_eq(refused(WEIR_R_STRANGER), 2, "the old address is a stranger now");
}

Test(session, who_knows_an_id_but_not_the_nonce_is_told_nothing_that_moves_the_session)
{
	struct rig_client client, thief;
	rig_client_init(rig, &client, 0, 1);
	rig_connect(&client);
	rig_client_init(rig, &thief, 0, 2);
	thief.session = client.session;
	rig_control(&thief, WEIR_KIND_PING, 0, 1);
	const struct weir_frame_header *frame = rig_last(&thief, WEIR_KIND_CHALLENGE);
	cr_assert_not_null(frame);
	cr_expect_eq(((const struct weir_challenge *)(const void *)(frame + 1))->nonce, 0);
	for (uint32_t i = 0; i + sizeof(client.nonce) <= sizeof(*frame) + sizeof(struct weir_challenge); i++)
		cr_expect_neq(memcmp((const uint8_t *)frame + i, &client.nonce, sizeof(client.nonce)), 0, "byte %u", i);
	// With all it was told.
	uint64_t cookie = cookie_of(&thief);
	uint64_t guesses[] = { 0, client.session, cookie, thief.nonce };
	for (uint32_t i = 0; i < sizeof(guesses) / sizeof(*guesses); i++) {
		thief.nonce = guesses[i];
		thief.session = 0;
		rig_hello(&thief, cookie);
		cr_expect(welcome_of(&thief) == NULL || welcome_of(&thief)->session != client.session);
	}
	rig_control(&client, WEIR_KIND_PING, 0, 2);
	cr_expect_eq(rig_count(&client, WEIR_KIND_PONG), 1, "the session is where it was");
}

Test(session, a_session_has_a_name_that_is_not_its_id)
{
	struct rig_client client;
	rig_client_init(rig, &client, 0, 1);
	rig_connect(&client);
	uint32_t number = welcome_of(&client)->number;
	cr_expect_gt(number, 0);
	client.nonce++;
	rig_connect(&client);
	cr_expect_eq(welcome_of(&client)->number, number + 1, "no other session has it");
}

Test(session, new_macs_and_vlan_are_taken_from_admitted_frames)
{
	struct rig_client client;
	rig_client_init(rig, &client, 0, 1);
	rig_connect(&client);
	client.path.vlan = 42;
	client.path.remote_mac[5] = 9;
	rig_control(&client, WEIR_KIND_PING, 0, 1);
	const struct rig_sent *sent = &rig->workers[0].sent[rig->workers[0].sent_count - 1];
	cr_assert_eq(sent->path.vlan, 42);
	cr_assert_eq(sent->path.remote_mac[5], 9);
}

Test(session, publishes_alone_keep_it_and_say_where_answers_go)
{
	struct rig_client client;
	rig_client_init(rig, &client, 0, 1);
	rig_connect(&client);
	cr_assert_not_null(rig_open(&client, 0, WEIR_ACK_ROUTED));
	client.path.vlan = 42;
	for (uint64_t i = 0; i < 50; i++) {
		rig_advance_ms(rig, 100);
		rig_publish(&client, 0, i, 1);
	}
	cr_assert_eq(weir_engine_row(rig->workers[0].engine)->sessions, 1);
	rig_run(rig);
	const struct rig_sent *sent = &rig->workers[0].sent[rig->workers[0].sent_count - 1];
	cr_assert_eq(((const struct weir_frame_header *)(const void *)sent->bytes)->kind, WEIR_KIND_ACK);
	cr_assert_eq(sent->path.vlan, 42);
	rig_advance_ms(rig, 2990);
	cr_assert_eq(weir_engine_row(rig->workers[0].engine)->sessions, 1);
	rig_advance_ms(rig, 100);
	cr_assert_eq(weir_engine_row(rig->workers[0].engine)->sessions, 0);
}

// Ticks are counted modulo 65,536: with a longer lease, the one frame of the next round comes in the tick of the last one.
Test(session, a_frame_a_whole_round_of_ticks_later_keeps_it)
{
	const uint64_t ROUND_MS = (WEIR_HEARD_TICK_NS << 16) / 1000000;
	const uint32_t LEASE_MS = (uint32_t)(ROUND_MS + ROUND_MS / 2);
	rig->workers[0].engine->config.limits.lease_ms = LEASE_MS;
	struct rig_client client;
	rig_client_init(rig, &client, 0, 1);
	rig_connect(&client);
	cr_assert_not_null(rig_open(&client, 0, WEIR_ACK_ROUTED));
	rig_publish(&client, 0, 0, 1);
	uint64_t first_ns = rig->now_ns;
	rig_advance_ms(rig, ROUND_MS);
	rig_publish(&client, 0, 1, 1);
	cr_assert_eq(weir_session_tick(rig->now_ns), weir_session_tick(first_ns), "what this test is about");
	rig_advance_ms(rig, LEASE_MS - 1000);
	cr_assert_eq(weir_engine_row(rig->workers[0].engine)->sessions, 1);
	rig_advance_ms(rig, 61000);
	cr_assert_eq(weir_engine_row(rig->workers[0].engine)->sessions, 0);
}

Test(session, a_full_table_says_sessions_and_grows_nothing)
{
	struct rig_client clients[12];
	for (uint16_t i = 0; i < 12; i++) {
		rig_client_init(rig, &clients[i], 0, i);
		rig_hello(&clients[i], 0);
		rig_hello(&clients[i], cookie_of(&clients[i]));
	}
	cr_assert_eq(weir_engine_row(rig->workers[0].engine)->sessions, 8);
	cr_assert_eq(refused(WEIR_R_SESSIONS), 4);
	cr_assert_eq(error_of(&clients[11])->reason, WEIR_R_SESSIONS);
	rig_advance_ms(rig, 3100);
	cr_assert_eq(weir_engine_row(rig->workers[0].engine)->sessions, 0, "idle ones expire");
	rig_connect(&clients[11]);
}

Test(session, answers_to_unknown_sessions_are_limited_in_rate)
{
	struct rig_client client;
	rig_client_init(rig, &client, 0, 1);
	client.session = 0xdeadbeefull;
	for (int i = 0; i < 1500; i++)
		rig_control(&client, WEIR_KIND_PING, 0, 1);
	cr_assert_eq(refused(WEIR_R_NO_SESSION), 1500);
	cr_assert_leq(rig_count(&client, WEIR_KIND_ERROR), 100);
	cr_assert_geq(rig_count(&client, WEIR_KIND_ERROR), 1);
}

// One host that asks without end leaves others their answer, and hellos take nothing from frames of ended sessions.
Test(session, a_noisy_stranger_takes_no_answer_from_another)
{
	struct rig_client noisy, quiet;
	rig_client_init(rig, &noisy, 0, 1);
	rig_client_init(rig, &quiet, 0, 2);
	quiet.path.remote_ip[0] ^= 0x55;
	noisy.session = 0xdeadbeefull;
	quiet.session = 0xfeedull;
	for (int i = 0; i < 10000; i++) {
		noisy.nonce++;
		rig_hello(&noisy, 0);
	}
	cr_assert_eq(refused(WEIR_R_RATE), 10000 - 4096);
	rig_forget(rig);
	for (int i = 0; i < 1500; i++)
		rig_control(&noisy, WEIR_KIND_PING, 0, 1);
	cr_assert_eq(rig_count(&noisy, WEIR_KIND_ERROR), 100);
	rig_control(&quiet, WEIR_KIND_PING, 0, 1);
	cr_assert_eq(rig_count(&quiet, WEIR_KIND_ERROR), 1);
}

// What waits for strangers' room is not what the worker waits for.
Test(session, no_room_for_strangers_holds_nobody_up)
{
	struct rig_client client;
	rig_client_init(rig, &client, 0, 1);
	client.session = 0xdeadbeefull;
	rig->workers[0].is_port_blocked = true;
	rig_control(&client, WEIR_KIND_PING, 0, 1);
	client.session = 0;
	rig_hello(&client, 0);
	rig->workers[0].is_port_blocked = false;
	cr_assert_eq(weir_engine_row(rig->workers[0].engine)->send_blocked, 0);
	rig_run(rig);
	cr_assert_eq(rig_count(&client, WEIR_KIND_CHALLENGE) + rig_count(&client, WEIR_KIND_ERROR), 0, "not made up for later");
}

Test(session, stop_says_bye_to_everybody_and_reports_when_it_is_out)
{
	struct rig_client clients[3];
	for (uint16_t i = 0; i < 3; i++) {
		rig_client_init(rig, &clients[i], 0, i);
		rig_connect(&clients[i]);
	}
	rig->workers[0].is_port_blocked = true;
	rig->done_count = 0;
	rig_message(rig, 0, &(struct weir_message){ .kind = WEIR_MESSAGE_STOP, .request = 9 });
	rig_run(rig);
	cr_assert_eq(rig->done_count, 0);
	rig->workers[0].is_port_blocked = false;
	rig_run(rig);
	cr_assert_eq(rig->done_count, 1);
	cr_assert_eq(rig->done[0].request, 9);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(rig_count(&clients[i], WEIR_KIND_BYE), 1);
}

Test(session, metadata_comes_in_pages_that_fit_the_frame)
{
	struct rig_client client;
	rig_client_init(rig, &client, 0, 1);
	rig_connect(&client);
	struct weir_frame_header header = { .kind = WEIR_KIND_METADATA };
	struct weir_metadata_ask ask = { .request = 3, .topic = "positions" };
	rig_send(&client, &header, &ask, sizeof(ask));
	const struct weir_frame_header *frame = rig_last(&client, WEIR_KIND_TOPIC);
	const struct weir_topic_info *info = (const void *)(frame + 1);
	cr_assert_eq(info->request, 3);
	cr_assert_eq(info->topic, RIG_TOPIC);
	cr_assert_eq(info->shards, 1);
	cr_assert_eq(frame->count, 1);
	strcpy(ask.topic, "nothing");
	rig_send(&client, &header, &ask, sizeof(ask));
	cr_assert_eq(error_of(&client)->reason, WEIR_R_NO_TOPIC);
	cr_assert_str_eq(error_of(&client)->name, "nothing");
}
