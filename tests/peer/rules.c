// The rules as a table, and what is kept of their breaches. No state but the findings; one thread.
// A rule says what a client does, in words that stand in wire/PROTOCOL.md too; its section is where to read on.
#include "tests/peer/rules.h"

#include <stdarg.h>
#include <string.h>

#include "lib/json.h"

static const struct {
	const char *name;
	const char *section;
	const char *text;
} RULES[PEER_RULE_LIMIT] = {
	[PEER_RULE_FRAME] = { "frame", "2, 15", "every datagram is one frame that passes all checks" },
	[PEER_RULE_UNUSED] = { "unused-fields", "2, 5", "header fields that a kind does not use are zero" },
	[PEER_RULE_HELLO_SIZE] = { "hello-size", "6", "a HELLO is as large as the frame_size it claims, 512 to 9216" },
	[PEER_RULE_HELLO_REPEAT] = { "hello-repeat", "6", "a HELLO with the same nonce says the same but for cookie and size" },
	[PEER_RULE_HELLO_COOKIE] = { "hello-cookie", "6", "a cookie is 0 or that of a CHALLENGE" },
	[PEER_RULE_HELLO_PACE] = { "hello-pace", "16", "unanswered HELLOs come 100 ms apart, doubling to 2 s, with jitter" },
	[PEER_RULE_NONCE] = { "nonce", "6", "a nonce is random and new for every new session" },
	[PEER_RULE_IDENTITY] = { "identity", "6", "a named client's producer is the key of its name, and no producer is 0" },
	[PEER_RULE_SESSION] = { "session", "6", "frames carry the session of the newest WELCOME" },
	[PEER_RULE_FRAME_SIZE] = { "frame-size", "6", "no frame is larger than WELCOME agreed to" },
	[PEER_RULE_PING] = { "ping", "6, 16", "a silent client sends PING every ping_ms" },
	[PEER_RULE_LEASE] = { "lease", "6", "a session in which nothing was heard for lease_ms is over" },
	[PEER_RULE_TOPIC] = { "topic-id", "7", "topic ids come from a TOPIC of this life of the router" },
	[PEER_RULE_OPEN_FIRST] = { "open-first", "8", "frames of a stream follow its OPENED, in this session" },
	[PEER_RULE_NEXT] = { "next", "8", "the first PUBLISH of an opened stream begins at OPENED.next" },
	[PEER_RULE_SEQUENCE] = { "sequence", "8", "sequences are dense: no PUBLISH leaves a gap" },
	[PEER_RULE_REPEAT] = { "repeat", "8", "an event that is sent again is the same bytes" },
	[PEER_RULE_EVENTS] = { "events", "1, 3", "events are well-formed, within event_max, and of the frame's shard" },
	[PEER_RULE_CREDIT] = { "credit", "9", "a frame lies below the limit whole" },
	[PEER_RULE_WINDOW] = { "window", "9", "at most window_frames frames are unacknowledged" },
	[PEER_RULE_RETRANSMISSION] = { "retransmission", "9, 16", "what is not acknowledged is sent again within 2 s" },
	[PEER_RULE_SKIP] = { "skip", "8, 14", "what was refused for good is skipped with its reason, and not sent again" },
	[PEER_RULE_CLOSE] = { "close", "8", "CLOSE carries the sequence that the producer would use next" },
	[PEER_RULE_ASSIGN] = { "assign", "11, 12", "each ASSIGN is answered by a REPORT of its term" },
	[PEER_RULE_TERM] = { "term", "11, 12", "only the newest term of a shard is reported, and none that was given back" },
	[PEER_RULE_REPORT_FALLS] = { "report-falls", "12", "received_to, settled_to, limit and charged of a term never fall" },
	[PEER_RULE_REPORT_BEYOND] = { "report-beyond", "12", "settled_to <= received_to <= what was sent" },
	[PEER_RULE_REPORT_PACE] = { "report-pace", "12, 16", "while something is outstanding a REPORT comes every 100 ms" },
	[PEER_RULE_GAP] = { "gap", "12, 16", "a gap is reported, once per round trip" },
	[PEER_RULE_PROGRESS] = { "progress", "12", "what came in order is received" },
	[PEER_RULE_CHARGED] = { "charged", "12", "charged is charge_from of a frame that came + its charge, if it has runs" },
	[PEER_RULE_GRANT] = { "grant", "12", "all limits together grant no more than the receive buffer holds" },
	[PEER_RULE_REVOKED] = { "revoked", "11, 12", "REVOKE is answered by REVOKED within a third of the lease" },
};

const char *peer_rule_name(enum peer_rule rule)
{
	return RULES[rule].name;
}

const char *peer_rule_section(enum peer_rule rule)
{
	return RULES[rule].section;
}

const char *peer_rule_text(enum peer_rule rule)
{
	return RULES[rule].text;
}

void peer_finding_add(struct peer_findings *findings, enum peer_rule rule, double at_s, const char *format, ...)
{
	struct peer_finding *finding = &findings->of[rule];
	findings->total++;
	if (finding->times < PEER_CASES) {
		va_list arguments;
		va_start(arguments, format);
		vsnprintf(finding->what[finding->times], sizeof(finding->what[0]), format, arguments);
		va_end(arguments);
		finding->at_s[finding->times] = at_s;
	}
	finding->times++;
}

static uint64_t told(const struct peer_finding *finding)
{
	return finding->times < PEER_CASES ? finding->times : PEER_CASES;
}

void peer_findings_print(const struct peer_findings *findings, FILE *out)
{
	for (int rule = 0; rule < PEER_RULE_LIMIT; rule++) {
		const struct peer_finding *finding = &findings->of[rule];
		if (!finding->times)
			continue;
		fprintf(out, "%s (PROTOCOL.md, section %s), %llu times: %s\n", RULES[rule].name, RULES[rule].section,
			(unsigned long long)finding->times, RULES[rule].text);
		for (uint64_t i = 0; i < told(finding); i++)
			fprintf(out, "    %8.3f s  %s\n", finding->at_s[i], finding->what[i]);
	}
}

void peer_findings_json(const struct peer_findings *findings, FILE *out)
{
	const char *comma = "";
	for (int rule = 0; rule < PEER_RULE_LIMIT; rule++) {
		const struct peer_finding *finding = &findings->of[rule];
		if (!finding->times)
			continue;
		fprintf(out, "%s{\"rule\":\"%s\",\"section\":\"%s\",\"times\":%llu,\"text\":", comma, RULES[rule].name,
			RULES[rule].section, (unsigned long long)finding->times);
		lib_json_string_write(out, RULES[rule].text, strlen(RULES[rule].text));
		fprintf(out, ",\"first_s\":%.3f,\"first\":", finding->at_s[0]);
		lib_json_string_write(out, finding->what[0], strlen(finding->what[0]));
		fputc('}', out);
		comma = ",";
	}
}
