// What the XDP guard of an AF_XDP port has counted, for `weirctl status`: frames per kind and per topic that went to
// weir, drops by reason, packets left to the kernel. Sums of per-CPU maps; reading disturbs nobody. Control thread.
#include "bpf/guard.h"
#include "control/daemon/answer.h"

static const char *const KINDS[WEIR_KIND_LIMIT] = {
	[WEIR_KIND_HELLO] = "hello",     [WEIR_KIND_CHALLENGE] = "challenge",
	[WEIR_KIND_WELCOME] = "welcome", [WEIR_KIND_PING] = "ping",
	[WEIR_KIND_PONG] = "pong",       [WEIR_KIND_BYE] = "bye",
	[WEIR_KIND_ERROR] = "error",     [WEIR_KIND_METADATA] = "metadata",
	[WEIR_KIND_TOPIC] = "topic",     [WEIR_KIND_OPEN] = "open",
	[WEIR_KIND_OPENED] = "opened",   [WEIR_KIND_PUBLISH] = "publish",
	[WEIR_KIND_PROBE] = "probe",     [WEIR_KIND_ACK] = "ack",
	[WEIR_KIND_REFUSE] = "refuse",   [WEIR_KIND_SKIP] = "skip",
	[WEIR_KIND_CLOSE] = "close",     [WEIR_KIND_CLOSED] = "closed",
	[WEIR_KIND_JOIN] = "join",       [WEIR_KIND_JOINED] = "joined",
	[WEIR_KIND_ASSIGN] = "assign",   [WEIR_KIND_DELIVER] = "deliver",
	[WEIR_KIND_REPORT] = "report",   [WEIR_KIND_REVOKE] = "revoke",
	[WEIR_KIND_REVOKED] = "revoked", [WEIR_KIND_LEAVE] = "leave",
	[WEIR_KIND_LEFT] = "left",
	[WEIR_KIND_SETTLE] = "settle",
	[WEIR_KIND_SETTLED] = "settled",
};

static json_t *count_json(const struct weir_guard_count *count)
{
	return json_pack("{s:I, s:I, s:I}", "frames", (json_int_t)count->frames, "events", (json_int_t)count->events, "bytes",
			 (json_int_t)count->bytes);
}

static json_t *topics_json(const struct weir_router *router, struct weir_guard *guard)
{
	json_t *topics = json_object();
	struct weir_guard_count count;

	for (uint32_t t = 0; t < router->topic_count; t++) {
		const struct weir_topic_spec *spec = &router->topics[t]->spec;

		if (weir_guard_read_topic(guard, spec->id.value, &count) == 0)
			json_object_set_new(topics, spec->name, count_json(&count));
	}
	return topics;
}

static const char *tags_name(enum weir_guard_tags tags)
{
	static const char *const NAMES[] = { "inside", "kept", "beside", "hidden", "taken-out" };

	return (unsigned)tags < sizeof(NAMES) / sizeof(*NAMES) ? NAMES[tags] : "unknown";
}

json_t *weir_answer_xdp(const struct weir_router *router, struct weir_guard *guard)
{
	struct weir_guard_count sum = { 0 };
	struct weir_guard_totals totals;
	struct weir_guard_info info;
	json_t *kinds;
	json_t *json;

	if (!guard || weir_guard_read(guard, &totals) != 0)
		return json_null();
	weir_guard_describe(guard, &info);
	kinds = json_object();
	for (unsigned kind = 0; kind < WEIR_KIND_LIMIT; kind++) {
		sum.frames += totals.kinds[kind].frames;
		sum.events += totals.kinds[kind].events;
		sum.bytes += totals.kinds[kind].bytes;
		if (totals.kinds[kind].frames && KINDS[kind])
			json_object_set_new(kinds, KINDS[kind], count_json(&totals.kinds[kind]));
	}
	json = count_json(&sum);
	json_object_set_new(json, "mode", json_string(info.mode == WEIR_GUARD_NATIVE ? "native" : "generic"));
	json_object_set_new(json, "vlan_tags", json_string(tags_name(info.tags)));
	json_object_set_new(json, "program", json_integer(info.program_id));
	json_object_set_new(json, "taken_over", json_boolean(info.has_taken_over));
	json_object_set_new(json, "kinds", kinds);
	json_object_set_new(json, "topics", topics_json(router, guard));
	json_object_set_new(json, "drops", weir_answer_reasons(totals.dropped));
	json_object_set_new(json, "passed", json_integer((json_int_t)totals.passed));
	return json;
}
