// The judge's session: hello, cookies, silence, topics; and the dispatch to streams and terms (judge_stream.c, judge_term.c).
// Called by main.c's loop for each datagram that comes from or goes to the client, and now and then for what is overdue.
// One thread; the clock is an argument.
#include "tests/peer/judge.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wire/codec.h"
#include "wire/key.h"

#define SLACK_NS (500 * MS) // a scheduler's and a test machine's
#define OLD_SESSION_NS (1000 * MS) // frames of a session that is over may be under way

int judge_init(struct judge *judge, struct peer_findings *findings, uint64_t start_ns, uint64_t now_ns)
{
	*judge = (struct judge){ .findings = findings, .start_ns = start_ns, .now_ns = now_ns, .is_calm = true,
				 .calm_since_ns = now_ns };
	judge->streams = calloc(JUDGE_STREAMS, sizeof(*judge->streams));
	return judge->streams ? 0 : -ENOMEM;
}

void judge_fini(struct judge *judge)
{
	free(judge->streams);
}

bool judge_is_calm_for(const struct judge *judge, uint64_t ns)
{
	return judge->is_calm && judge->now_ns >= judge->calm_since_ns + ns;
}

void judge_calm(struct judge *judge, bool is_calm, uint64_t now_ns)
{
	if (is_calm && !judge->is_calm)
		judge->calm_since_ns = now_ns;
	judge->is_calm = is_calm;
}

static void session_forget(struct judge *judge)
{
	if (judge->session) {
		judge->old_session = judge->session;
		judge->old_until_ns = judge->now_ns + OLD_SESSION_NS;
	}
	judge->session = 0;
	judge->is_ready = false;
	judge->topic_count = 0;
	for (uint32_t i = 0; i < JUDGE_STREAMS; i++)
		judge->streams[i].is_used = false;
	for (uint32_t i = 0; i < JUDGE_TERMS; i++)
		judge->terms[i].is_used = false;
}

// The client hears of it by an ERROR, or by silence: until then what it sends is of the old life.
void judge_restart(struct judge *judge, uint64_t now_ns)
{
	judge->now_ns = now_ns;
	session_forget(judge);
	judge->old_until_ns = now_ns + judge->lease_ms * MS + 2 * SLACK_NS;
	judge->calm_since_ns = now_ns;
	judge->cookie_count = 0;
}

// ---- What the client sends ----

static void hello_check(struct judge *judge, const struct weir_hello *hello, size_t size)
{
	if (hello->frame_size != size || size < WEIR_FRAME_MIN || size > WEIR_FRAME_MAX)
		BREACH(judge, PEER_RULE_HELLO_SIZE, "a HELLO of %zu bytes claims frames of %u", size, hello->frame_size);
	if (hello->nonce == 0)
		BREACH(judge, PEER_RULE_NONCE, "a HELLO with nonce 0");
	if (hello->producer == 0)
		BREACH(judge, PEER_RULE_IDENTITY, "a HELLO with producer 0");
	uint64_t name_size = strnlen(hello->name, sizeof(hello->name));
	if (hello->epoch && (!name_size || hello->producer != weir_key_of_bytes(hello->name, name_size)))
		BREACH(judge, PEER_RULE_IDENTITY, "a HELLO with an epoch, but producer %#llx is not the key of name \"%.63s\"",
		       (unsigned long long)hello->producer, hello->name);
	bool is_known = hello->cookie == 0;
	for (uint32_t i = 0; i < judge->cookie_count && i < JUDGE_CHALLENGES; i++)
		is_known |= hello->cookie == judge->cookies[i];
	if (!is_known && judge->cookie_count)
		BREACH(judge, PEER_RULE_HELLO_COOKIE, "a HELLO with a cookie that no CHALLENGE gave");
}

static void hello_in(struct judge *judge, const struct weir_hello *hello, size_t size)
{
	bool is_new = !judge->has_hello || hello->nonce != judge->hello.nonce;
	hello_check(judge, hello, size);
	if (is_new) {
		if (judge->is_ready)
			session_forget(judge);
		judge->hellos = 0;
	} else if (hello->producer != judge->hello.producer || hello->epoch != judge->hello.epoch ||
		   memcmp(hello->name, judge->hello.name, sizeof(hello->name))) {
		BREACH(judge, PEER_RULE_HELLO_REPEAT, "a HELLO with the same nonce names another producer, epoch or name");
	}
	// The first repetition may come after 100 ms; later ones are spread by jitter from 0 on, so only floods are told.
	judge->hellos = judge->answered_ns > judge->hello_ns ? 1 : judge->hellos + 1;
	if (judge->hellos > 20 && judge->now_ns - judge->hello_ns < 10 * MS)
		BREACH(judge, PEER_RULE_HELLO_PACE, "%u HELLOs without an answer, the last two %.1f ms apart", judge->hellos,
		       (double)(judge->now_ns - judge->hello_ns) / 1e6);
	judge->hello = *hello;
	judge->has_hello = true;
	judge->hello_ns = judge->now_ns;
}

// Which header fields a kind uses beside session: bits.
enum {
	USES_STREAM = 1,
	USES_TOPIC = 2,
	USES_SHARD = 4,
	USES_SEQUENCE = 8,
	USES_PLACE = USES_STREAM | USES_TOPIC | USES_SHARD | USES_SEQUENCE,
};

static unsigned uses(uint8_t kind)
{
	switch (kind) {
	case WEIR_KIND_PUBLISH:
	case WEIR_KIND_PROBE:
	case WEIR_KIND_SKIP:
	case WEIR_KIND_CLOSE:
	case WEIR_KIND_REVOKED:
		return USES_PLACE;
	case WEIR_KIND_OPEN:
		return USES_TOPIC | USES_SHARD;
	case WEIR_KIND_PING:
		return USES_SEQUENCE;
	default:
		return 0;
	}
}

static void unused_check(struct judge *judge, const struct weir_frame_header *frame)
{
	unsigned used = uses(frame->kind);
	if ((!(used & USES_STREAM) && frame->stream) || (!(used & USES_TOPIC) && frame->topic) ||
	    (!(used & USES_SHARD) && frame->shard) || (!(used & USES_SEQUENCE) && frame->sequence))
		BREACH(judge, PEER_RULE_UNUSED, "kind %u with stream %u, topic %u, shard %u, sequence %llu", frame->kind,
		       frame->stream, frame->topic, frame->shard, (unsigned long long)frame->sequence);
}

// Whether the frame is of the client's session, so that the rest may be judged.
static bool session_check(struct judge *judge, const struct weir_frame_header *frame, size_t size)
{
	if (judge->session == 0 || frame->session != judge->session) {
		bool is_late = frame->session && frame->session == judge->old_session && judge->now_ns < judge->old_until_ns;
		if (!is_late && frame->kind != WEIR_KIND_BYE)
			BREACH(judge, PEER_RULE_SESSION, "kind %u with %s", frame->kind,
			       frame->session == 0 ? "session 0" :
			       frame->session == judge->old_session ? "the session of before" :
			       "a session that is not its own");
		return false;
	}
	if (size > judge->frame_size)
		BREACH(judge, PEER_RULE_FRAME_SIZE, "kind %u of %zu bytes, agreed are %u", frame->kind, size,
		       judge->frame_size);
	uint64_t silence_ns = judge->now_ns - judge->heard_ns;
	if (silence_ns > judge->lease_ms * MS + SLACK_NS && frame->kind != WEIR_KIND_BYE)
		BREACH(judge, PEER_RULE_LEASE, "kind %u although nothing came for %.1f s", frame->kind,
		       (double)silence_ns / 1e9);
	return true;
}

void judge_in(struct judge *judge, const void *data, size_t size, uint64_t now_ns)
{
	const struct weir_frame_header *frame = data;
	judge->now_ns = now_ns;
	judge->frames++;
	enum weir_reason reason = weir_frame_check(data, size, true, false, NULL);
	if (reason) {
		BREACH(judge, PEER_RULE_FRAME, "a datagram of %zu bytes, kind %u, is dropped as `%s`", size,
		       size >= 4 ? frame->kind : 0, weir_reason_name(reason));
		return;
	}
	unused_check(judge, frame);
	if (frame->kind == WEIR_KIND_HELLO) {
		hello_in(judge, (const struct weir_hello *)(frame + 1), size);
		return;
	}
	if (!session_check(judge, frame, size))
		return;
	judge->sent_ns = now_ns;
	judge_stream_in(judge, frame);
	judge_term_in(judge, frame);
	if (frame->kind == WEIR_KIND_BYE)
		session_forget(judge);
}

// ---- What is sent to the client ----

static void welcome_out(struct judge *judge, const struct weir_welcome *welcome)
{
	judge->answered_ns = judge->now_ns;
	if (judge->session == welcome->session)
		return;
	session_forget(judge);
	judge->session = welcome->session;
	judge->is_ready = true;
	judge->sessions++;
	judge->frame_size = welcome->frame_size;
	judge->window_frames = welcome->window_frames;
	judge->ping_ms = welcome->ping_ms;
	judge->lease_ms = welcome->lease_ms;
	judge->sent_ns = judge->heard_ns = judge->now_ns;
}

static void topic_out(struct judge *judge, const struct weir_topic_info *info)
{
	for (uint32_t i = 0; i < judge->topic_count; i++) {
		if (judge->topics[i].id == info->topic)
			return;
	}
	if (judge->topic_count == JUDGE_TOPICS)
		return;
	judge->topics[judge->topic_count].id = info->topic;
	judge->topics[judge->topic_count].shards = info->shards;
	judge->topics[judge->topic_count++].event_max = info->event_max;
}

void judge_out(struct judge *judge, const void *data, size_t size, uint64_t now_ns)
{
	const struct weir_frame_header *frame = data;
	judge->now_ns = now_ns;
	if (size < sizeof(*frame))
		return;
	if (frame->kind == WEIR_KIND_CHALLENGE) {
		judge->answered_ns = now_ns;
		judge->cookies[judge->cookie_count++ % JUDGE_CHALLENGES] = ((const struct weir_challenge *)(frame + 1))->cookie;
	} else if (frame->kind == WEIR_KIND_WELCOME) {
		welcome_out(judge, (const struct weir_welcome *)(frame + 1));
	} else if (frame->kind == WEIR_KIND_ERROR && ((const struct weir_error *)(frame + 1))->reason == WEIR_R_NO_SESSION) {
		if (frame->session == judge->session)
			session_forget(judge);
		else if (frame->session == judge->old_session && judge->old_until_ns > now_ns + OLD_SESSION_NS)
			judge->old_until_ns = now_ns + OLD_SESSION_NS;
	}
	if (frame->session != judge->session || !judge->session)
		return;
	judge->heard_ns = now_ns;
	if (frame->kind == WEIR_KIND_TOPIC)
		topic_out(judge, (const struct weir_topic_info *)(frame + 1));
	judge_stream_out(judge, frame);
	judge_term_out(judge, frame);
}

void judge_tick(struct judge *judge, uint64_t now_ns)
{
	judge->now_ns = now_ns;
	if (!judge->is_ready)
		return;
	if (now_ns > judge->sent_ns + judge->ping_ms * MS + SLACK_NS) {
		BREACH(judge, PEER_RULE_PING, "nothing was sent for %.2f s, ping_ms is %u",
		       (double)(now_ns - judge->sent_ns) / 1e9, judge->ping_ms);
		judge->sent_ns = now_ns; // told once per silence of that length
	}
	judge_stream_tick(judge);
	judge_term_tick(judge);
}
